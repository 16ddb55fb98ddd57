//! What was worth keeping of what the targets were given, crashes of old among them, is given to them again.

use std::fs;
use std::path::Path;

use portcullis_fuzz::TARGETS;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");

#[test]
fn nothing_of_the_corpus_does_any_harm() {
    for (name, run) in TARGETS {
        let files =
            fs::read_dir(Path::new(CORPUS).join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in files {
            eprintln!("{}", file.display());
            run(&fs::read(file).expect("reads"));
        }
    }
    let folders = fs::read_dir(CORPUS).expect("a folder").count();
    assert_eq!(folders, TARGETS.len(), "a corpus without a target");
}
