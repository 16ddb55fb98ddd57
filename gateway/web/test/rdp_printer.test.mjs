// What a machine prints, as IronRDP tells it, becomes a document.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { printer } from '../src/rdp_printer.js';

function spooler() {
  const documents = [];
  const iron = {
    printerName: (name) => name,
    printerDriverName: (name) => name,
    PrinterDriverName: { MicrosoftPrintToPdf: 'Microsoft Print to PDF' },
    printJobStreamCallbacks: (callbacks) => callbacks,
  };
  const [name, driver, callbacks] = printer(iron, (blob, called) => documents.push([blob, called]));
  assert.deepEqual([name, driver], ['Portcullis', 'Microsoft Print to PDF']);
  return { documents, callbacks };
}

const bytes = (text) => new TextEncoder().encode(text);

test('a document comes in parts, beside another', async () => {
  const { documents, callbacks } = spooler();
  callbacks.onJobStart(1);
  callbacks.onJobStart(2);
  const part = bytes('%PDF-1.7');
  callbacks.onJobData(1, part);
  // The memory that it lay in is used again.
  part.fill(0);
  callbacks.onJobData(2, bytes('%!PS'));
  callbacks.onJobData(1, bytes(' end'));
  callbacks.onJobComplete(1);
  callbacks.onJobComplete(2);
  assert.deepEqual(documents.map(([, name]) => name), ['document.pdf', 'document.prn']);
  assert.equal(await documents[0][0].text(), '%PDF-1.7 end');
  assert.equal(documents[0][0].type, 'application/pdf');
});

test('nothing and what broke is no document', () => {
  const { documents, callbacks } = spooler();
  callbacks.onJobStart(1);
  callbacks.onJobComplete(1);
  callbacks.onJobStart(2);
  callbacks.onJobData(2, bytes('%PDF'));
  callbacks.onJobError(2);
  callbacks.onJobComplete(2);
  callbacks.onJobData(3, bytes('%PDF'));
  callbacks.onJobComplete(3);
  assert.deepEqual(documents, []);
});
