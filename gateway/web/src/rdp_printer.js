// A printer that a machine of RDP finds: what is printed on it comes here as a document. The driver for it is part of
// Windows.

// A document that is larger is no document, and would fill the browser's memory.
const LONGEST = 256 * 1024 * 1024;
const PDF = '%PDF';

/** Extensions for IronRDP's builder; `printed(blob, name)` is told of each document. */
export function printer(iron, printed) {
  const jobs = new Map();
  const callbacks = {
    onJobStart(id) { jobs.set(id, { parts: [], length: 0 }); },
    onJobData(id, part) {
      const job = jobs.get(id);
      if (!job || job.length + part.length > LONGEST) return jobs.delete(id);
      // What IronRDP gives lies in its own memory.
      job.parts.push(part.slice());
      job.length += part.length;
    },
    onJobComplete(id) {
      const job = jobs.get(id);
      jobs.delete(id);
      if (job?.length > 0) printed(...document(job.parts));
    },
    onJobError(id) { jobs.delete(id); },
  };
  return [
    iron.printerName('Portcullis'),
    iron.printerDriverName(iron.PrinterDriverName.MicrosoftPrintToPdf),
    iron.printJobStreamCallbacks(callbacks),
  ];
}

/** `[blob, name]`: what a driver of another kind makes has a name that says nothing more. */
function document(parts) {
  const isPdf = new TextDecoder().decode(parts[0].slice(0, PDF.length)) === PDF;
  return [new Blob(parts, { type: isPdf ? 'application/pdf' : 'application/octet-stream' }), isPdf ? 'document.pdf' : 'document.prn'];
}
