// noVNC writes every failed connection to the browser's console, and every page by plain http. The page tells people
// what happened; in the console such lines would only hide what is really wrong. Imported before noVNC itself, which
// offers no other way to say so.

import { initLogging } from '../node_modules/@novnc/novnc/core/util/logging.js';

initLogging('none');
