//! The corpora of the repository, and inputs near them, break no property of a target.

use std::fs;
use std::path::PathBuf;

use fuzz_entries::TARGETS;

/// Inputs near those of the corpus are tried for this many positions of each.
const POSITIONS: usize = 200;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(name)
}

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = folder("corpora").join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Shortened and changed copies of an input.
fn neighbours(input: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let step = (input.len() / POSITIONS).max(1);
    (0..input.len()).step_by(step).flat_map(move |at| {
        let changed = |change: fn(u8) -> u8| {
            let mut bytes = input.to_vec();
            bytes[at] = change(bytes[at]);
            bytes
        };
        let without = [&input[..at], &input[at + 1..]].concat();
        [
            input[..at].to_vec(),
            without,
            changed(|byte| byte ^ 1),
            changed(|byte| byte ^ 0x80),
            changed(|_| 0xff),
        ]
    })
}

#[test]
fn every_input_of_the_corpora_and_its_neighbours_is_taken_or_refused() {
    for target in TARGETS {
        let corpus = corpus(target.name);
        let (mut taken, mut tried) = (0, 0);
        for (path, input) in &corpus {
            println!("{}", path.display());
            taken += usize::from((target.run)(input));
            for neighbour in neighbours(input) {
                (target.run)(&neighbour);
                tried += 1;
            }
        }
        println!("{}: {} inputs, {taken} taken, {tried} near them", target.name, corpus.len());
        assert!(corpus.len() >= 8, "{}: {} inputs", target.name, corpus.len());
        assert!(taken >= 2, "{}: {taken} inputs are well formed", target.name);
    }
}

#[test]
fn every_target_has_its_file_its_corpus_and_its_dictionary() {
    for target in TARGETS {
        let file = folder("fuzz_targets").join(format!("{}.rs", target.name));
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        assert!(text.contains(&format!("fuzz_entries::{}(", target.name)), "{text}");
        assert!(folder("dictionaries").join(format!("{}.dict", target.name)).is_file());
    }
    let named = |name: &str| TARGETS.iter().any(|target| target.name == name);
    for folder in fs::read_dir(folder("corpora")).unwrap() {
        let name = folder.unwrap().file_name().into_string().unwrap();
        assert!(named(&name), "fuzz/corpora/{name} belongs to no target");
    }
}
