// The dashboard's words.

import { teach } from '../language.js';
import en from './words/en.js';
import zh from './words/zh.js';

export const LANGUAGES = { en, zh };

teach(LANGUAGES);
