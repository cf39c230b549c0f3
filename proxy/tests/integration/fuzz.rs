//! Mutated bytes against everything that reads bytes which others wrote: the bodies are the library's (`*/fuzz.rs`). A
//! bounded number of inputs, the same for the same seed. Not guided by what they cover: `proxy/fuzz` is.

mod mutate;
mod seeds;

use std::collections::HashSet;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use countersign::audit::note::Checkpoint;
use countersign::audit::segment::Header;
use countersign::audit::verify::Seen;
use countersign::wire::strict::{self, Limits};
use countersign::{audit, authorizer, config, wire};
use loadtest::figures::Claim;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::support::{count, number};
use mutate::mutated;

const SEED: u64 = 20_261_126;
const COMMAND: &str = "cargo test -p countersign --test integration fuzz";

/// What reads bytes.
struct Target {
    name: &'static str,
    body: fn(&[u8]),
    /// Whether the reader takes this for what it reads: inputs of which none is taken prove little.
    takes: fn(&[u8]) -> bool,
}

const TARGETS: [Target; 10] = [
    Target { name: "strict", body: wire::fuzz::strict, takes: is_json },
    Target { name: "answer", body: wire::fuzz::answer, takes: is_answer },
    Target { name: "question", body: wire::fuzz::question, takes: is_question },
    Target { name: "record", body: audit::fuzz::record, takes: |data| Seen::read(data).is_ok() },
    Target { name: "segment", body: audit::fuzz::segment, takes: |data| Header::decode(data).is_some() },
    Target { name: "recovery", body: audit::fuzz::recovery, takes: |data| data.len() > 28 },
    Target { name: "cursor", body: audit::fuzz::cursor, takes: |data| data.starts_with(b"CSIGNCUR") },
    Target { name: "checkpoint", body: audit::fuzz::checkpoint, takes: is_checkpoint },
    Target { name: "config", body: config::fuzz::config, takes: is_config },
    Target { name: "head", body: authorizer::fuzz::head, takes: is_head },
];

fn is_json(data: &[u8]) -> bool {
    strict::read(data, Limits { depth: 32, members: 64, elements: 64, finite: true }).is_ok()
}

fn is_answer(data: &[u8]) -> bool {
    wire::answer::read(200, None, false, data).is_ok()
}

fn is_question(data: &[u8]) -> bool {
    wire::question::read(data.to_vec().into()).is_ok()
}

fn is_checkpoint(data: &[u8]) -> bool {
    std::str::from_utf8(data).is_ok_and(|text| Checkpoint::parse(text).is_some())
}

fn is_config(data: &[u8]) -> bool {
    std::str::from_utf8(data).is_ok_and(|text| config::parse(text, "fuzzed.toml", &|_| None).is_ok())
}

fn is_head(data: &[u8]) -> bool {
    matches!(authorizer::exchange::head::parse(data), Ok(Some(_)))
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// Inputs that were kept, in `tests/corpus/<target>`: each once broke something.
fn kept(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = std::fs::read_dir(corpus().join(target.name)) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn survives(target: &Target, input: &[u8]) -> bool {
    let (body, input) = (target.body, input.to_owned());
    catch_unwind(move || body(&input)).is_ok()
}

/// Where somebody can have it again.
fn keep_finding(target: &Target, input: &[u8]) -> PathBuf {
    let directory = loadtest::figures::directory().with_file_name("fuzz");
    std::fs::create_dir_all(&directory).unwrap();
    let name = hex::encode(&audit::chain::hash(input)[..6]);
    let path = directory.join(format!("{}-{name}", target.name));
    std::fs::write(&path, input).unwrap();
    path
}

/// Inputs made, and those of them that are no seeds and were taken for what they claim to be.
fn run(target: &Target, seed: u64, inputs: u64) -> (u64, u64) {
    let seeds: Vec<Vec<u8>> =
        seeds::of(target.name).into_iter().chain(kept(target).into_iter().map(|(_, bytes)| bytes)).collect();
    let known: HashSet<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    for seed in &seeds {
        assert!(survives(target, seed), "{} breaks over a seed: {}", target.name, keep_finding(target, seed).display());
    }
    let mut rng = StdRng::seed_from_u64(seed);
    let mut taken = 0;
    for n in 0..inputs {
        let input = mutated(&mut rng, &seeds);
        taken += u64::from(!known.contains(&*input) && (target.takes)(&input));
        assert!(
            survives(target, &input),
            "{}, seed {seed}, input {n}: kept as {}",
            target.name,
            keep_finding(target, &input).display()
        );
    }
    (inputs + seeds.len() as u64, taken)
}

#[test]
fn no_bytes_break_a_property() {
    let (seed, inputs) = (number("COUNTERSIGN_FUZZ_SEED", SEED), count("COUNTERSIGN_FUZZ_INPUTS", 10_000));
    let only = std::env::var("COUNTERSIGN_FUZZ_ONLY").ok();
    let (mut claim, mut met) = (Claim::new("fuzz", COMMAND).seed(seed), 0);
    for target in TARGETS.iter().filter(|target| only.as_deref().is_none_or(|only| only == target.name)) {
        let (made, taken) = run(target, seed, inputs);
        println!("{}: seed {seed}, {made} inputs, {taken} taken for what they claim to be", target.name);
        assert!(taken * 200 >= inputs, "{} sees too little that it takes: {taken} of {made}", target.name);
        claim = claim.figure(target.name, made);
        met += 1;
    }
    assert!(met > 0, "{only:?} is no target");
    if only.is_some() {
        return;
    }
    assert!(finds_a_defect(seed), "the mutations would not find a defect");
    claim
        .figure("findings", 0_u64)
        .control("a reader of answers that takes any `true` for an allow is found out")
        .write()
        .unwrap();
}

/// The control: a reader of answers that takes whatever has `true` in it for an allow.
fn finds_a_defect(seed: u64) -> bool {
    let planted = |data: &[u8]| data.windows(4).any(|four| four == b"true");
    let seeds = seeds::of("answer");
    let mut rng = StdRng::seed_from_u64(seed);
    (0..10_000).any(|_| {
        let input = mutated(&mut rng, &seeds);
        is_answer(&input)
            && planted(&input)
            && !serde_json::from_slice::<serde_json::Value>(&input).is_ok_and(|value| {
                let result = &value["result"];
                result == true || result["allow"] == true
            })
    })
}

#[test]
fn what_was_found_once_stays_mended() {
    let mut tried = 0;
    for target in &TARGETS {
        for (path, input) in kept(target) {
            assert!(survives(target, &input), "{} breaks over {} again", target.name, path.display());
            tried += 1;
        }
    }
    let directories = std::fs::read_dir(corpus()).unwrap().map(|entry| entry.unwrap().path());
    let all: usize = directories.map(|directory| std::fs::read_dir(directory).unwrap().count()).sum();
    assert!(tried > 0 && tried == all, "{tried} of {all} were tried: a directory that is called like no target");
}

/// What libFuzzer runs (`proxy/fuzz`) is built by nobody but the one who fuzzes: a reader without its program would not be missed.
#[test]
fn every_target_is_fuzzed_by_coverage() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut programs: Vec<String> = std::fs::read_dir(fuzz.join("fuzz_targets"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    programs.sort();
    let mut targets = TARGETS.map(|target| format!("{}.rs", target.name));
    targets.sort();
    assert_eq!(programs, targets);
    let manifest: toml::Table = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap().parse().unwrap();
    let built: Vec<&str> =
        manifest["bin"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    for target in &TARGETS {
        let program = format!("fuzz_targets/{}.rs", target.name);
        assert!(built.contains(&program.as_str()), "{program} is not built");
        let text = std::fs::read_to_string(fuzz.join(&program)).unwrap();
        assert!(text.contains(&format!("::fuzz::{}(data)", target.name)), "{program} calls another body");
    }
}

/// `COUNTERSIGN_FUZZ_INPUT=<target>:<file>` gives one input to one body, with its own words about what is broken.
#[test]
fn one_input_again() {
    let Ok(which) = std::env::var("COUNTERSIGN_FUZZ_INPUT") else { return };
    let (name, path) = which.split_once(':').expect("<target>:<file>");
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    (target.body)(&std::fs::read(path).unwrap());
}

/// `COUNTERSIGN_FUZZ_SEEDS=<directory>` writes the seeds there, one directory a target, for a fuzzer to begin with.
#[test]
fn every_target_has_seeds_that_it_takes() {
    let directory = std::env::var_os("COUNTERSIGN_FUZZ_SEEDS").map(PathBuf::from);
    for target in &TARGETS {
        let seeds = seeds::of(target.name);
        assert!(seeds.iter().any(|seed| (target.takes)(seed)), "{}", target.name);
        let Some(directory) = directory.as_ref().map(|directory| directory.join(target.name)) else { continue };
        std::fs::create_dir_all(&directory).unwrap();
        for (n, seed) in seeds.iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{n:03}")), seed).unwrap();
        }
    }
}
