//! The walls of the house, held against the sources: no circle of files, no arrow upwards between rooms, no file of more
//! than 600 lines, no function of more than six parameters but those of kernels. docs/ARCHITECTURE.md says why.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// What each room of `src` may use besides itself and the files at the bottom.
const MAY_USE: [(&str, &[&str]); 15] = [
    ("cube", &[]),
    ("network", &[]),
    ("io", &["cube"]),
    ("metrics", &["cube"]),
    ("sensor", &["cube"]),
    ("baseline", &["sensor", "cube"]),
    ("report", &["metrics", "cube"]),
    ("engine", &["network", "sensor", "cube"]),
    ("align", &["engine", "network", "sensor", "cube"]),
    ("evidence", &[]),
    ("refine", &["evidence", "engine", "network", "sensor", "cube"]),
    (
        "coordination",
        &[
            "align", "baseline", "refine", "evidence", "engine", "network", "sensor", "metrics", "io", "cube",
        ],
    ),
    (
        "fusion",
        &[
            "coordination",
            "align",
            "baseline",
            "refine",
            "evidence",
            "engine",
            "network",
            "sensor",
            "metrics",
            "io",
            "cube",
        ],
    ),
    (
        "experiment",
        &[
            "fusion",
            "coordination",
            "align",
            "baseline",
            "refine",
            "evidence",
            "engine",
            "network",
            "sensor",
            "report",
            "metrics",
            "io",
            "cube",
        ],
    ),
    (
        "cli",
        &[
            "experiment",
            "fusion",
            "coordination",
            "align",
            "baseline",
            "refine",
            "evidence",
            "engine",
            "network",
            "sensor",
            "report",
            "metrics",
            "io",
            "cube",
        ],
    ),
];
/// Files that every room may use.
const BOTTOM: [&str; 5] = ["error", "interrupt", "named", "random", "real"];

const MOST_LINES: usize = 600;
const MOST_PARAMETERS: usize = 6;

/// Functions that may take more parameters, beside kernels and their twins: file, name and reason.
const PARAMETERS: [(&str, &str, &str); 1] = [(
    "src/engine/gpu/recording.rs",
    "new",
    "everything that a recorded step is made of, handed over once",
)];

/// Words and marks of a source, without comments, texts and tests.
fn tokens(source: &str) -> Vec<String> {
    let s: Vec<char> = source.chars().collect();
    let (mut out, mut i) = (Vec::new(), 0);
    let at = |i: usize| s.get(i).copied().unwrap_or(' ');
    while i < s.len() {
        let raw = at(i) == 'r' && (at(i + 1) == '"' || at(i + 1) == '#' && matches!(at(i + 2), '"' | '#'));
        if at(i) == '/' && at(i + 1) == '/' {
            while i < s.len() && at(i) != '\n' {
                i += 1;
            }
        } else if at(i) == '/' && at(i + 1) == '*' {
            while i < s.len() && !(at(i) == '*' && at(i + 1) == '/') {
                i += 1;
            }
            i += 2;
        } else if raw {
            let hashes = s[i + 1..].iter().take_while(|&&c| c == '#').count();
            i += hashes + 2;
            while i < s.len() && !(at(i) == '"' && (1..=hashes).all(|k| at(i + k) == '#')) {
                i += 1;
            }
            i += hashes + 1;
        } else if at(i) == '"' {
            i += 1;
            while i < s.len() && at(i) != '"' {
                i += if at(i) == '\\' { 2 } else { 1 };
            }
            i += 1;
        } else if at(i) == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            i += if at(i + 1) == '\\' { 3 } else { 2 };
            while i < s.len() && at(i) != '\'' {
                i += 1;
            }
            i += 1;
        } else if at(i).is_alphanumeric() || at(i) == '_' {
            let word: String = s[i..]
                .iter()
                .take_while(|c| c.is_alphanumeric() || **c == '_')
                .collect();
            i += word.chars().count();
            out.push(word);
        } else if at(i).is_whitespace() {
            i += 1;
        } else {
            let pair: String = [at(i), at(i + 1)].iter().collect();
            let mark = if matches!(pair.as_str(), "::" | "->" | "=>") {
                pair
            } else {
                at(i).to_string()
            };
            i += mark.len();
            out.push(mark);
        }
    }
    without_tests(&out)
}

/// Number of the token behind the group that opens at `from`.
fn behind(tokens: &[String], from: usize) -> usize {
    let mut depth = 0;
    for (k, token) in tokens.iter().enumerate().skip(from) {
        match token.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return k + 1;
        }
    }
    tokens.len()
}

/// Leaves out whatever stands under `#[cfg(test)]` and its like.
fn without_tests(tokens: &[String]) -> Vec<String> {
    let (mut out, mut i) = (Vec::new(), 0);
    while i < tokens.len() {
        let end = behind(tokens, i + 1);
        if tokens[i] == "#" && tokens.get(i + 1).is_some_and(|t| t == "[") {
            let inside = &tokens[i..end];
            if inside.contains(&"cfg".to_owned())
                && inside.contains(&"test".to_owned())
                && !inside.contains(&"not".to_owned())
            {
                i = end;
                while i < tokens.len() && tokens[i] != "{" && tokens[i] != ";" {
                    i += 1;
                }
                i = if tokens.get(i).is_some_and(|t| t == "{") {
                    behind(tokens, i)
                } else {
                    i + 1
                };
                continue;
            }
        }
        out.push(tokens[i].clone());
        i += 1;
    }
    out
}

/// Paths of the tree that begins at `i`, and where it ends: `a::{b, c::d}` are two.
fn tree(tokens: &[String], mut i: usize, before: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = before.to_vec();
    let get = |i: usize| tokens.get(i).map(String::as_str).unwrap_or_default();
    loop {
        match get(i) {
            "{" => {
                let end = behind(tokens, i);
                i += 1;
                while i + 1 < end {
                    i = match get(i) {
                        "," => i + 1,
                        _ => tree(tokens, i, &path, found).max(i + 1),
                    };
                }
                return end;
            }
            word if word.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                path.push(word.to_owned());
                i += 1;
            }
            _ => break,
        }
        if get(i) != "::" {
            break;
        }
        i += 1;
    }
    if get(i) == "as" {
        i += 2;
    }
    found.push(path);
    i
}

/// A file of the house.
struct Source {
    module: Vec<String>,
    tokens: Vec<String>,
    lines: usize,
}

/// The sources by path from the root, `src/engine/mod.rs`.
type House = BTreeMap<String, Source>;

fn house() -> House {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = House::new();
    let mut folders = vec![
        "src",
        "tests",
        "examples",
        "benches",
        "kernels-tests/src",
        "kernels-tests/tests",
        "shaders",
    ]
    .into_iter()
    .map(|name| root.join(name))
    .collect::<Vec<_>>();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .strip_prefix(root)
                .unwrap()
                .to_string_lossy()
                .replace('\\', "/");
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") || name.ends_with(".wgsl") {
                found.insert(name.clone(), source(&name, &fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

fn source(name: &str, text: &str) -> Source {
    let inside = name.trim_start_matches("src/").trim_end_matches(".rs");
    let module = inside
        .split('/')
        .filter(|part| *part != "mod")
        .map(str::to_owned)
        .collect();
    Source {
        module,
        tokens: if name.ends_with(".rs") {
            tokens(text)
        } else {
            Vec::new()
        },
        lines: text.lines().count(),
    }
}

/// Files of the library, but for its root and what is compiled for tests alone.
fn library(house: &House) -> BTreeMap<Vec<String>, (&str, &Source)> {
    let product = |name: &str| {
        name.starts_with("src/")
            && !name.ends_with("tests.rs")
            && !["src/lib.rs", "src/main.rs"].contains(&name)
    };
    let files = house.iter().filter(|(name, _)| product(name));
    files
        .map(|(name, source)| (source.module.clone(), (name.as_str(), source)))
        .collect()
}

/// What each file imports of the library: file to files. Names that a module only hands on (`pub use`) lead to where they
/// come from, and handing on is no import.
fn imports(house: &House) -> BTreeMap<String, BTreeSet<String>> {
    let files = library(house);
    let mut handed: BTreeMap<(Vec<String>, String), Vec<String>> = BTreeMap::new();
    let mut used = Vec::new();
    for (module, (name, source)) in &files {
        let tokens = &source.tokens;
        let children: BTreeSet<&String> = files
            .keys()
            .filter(|m| m.len() == module.len() + 1 && m.starts_with(module))
            .filter_map(|m| m.last())
            .collect();
        let mut public = false;
        for i in 0..tokens.len() {
            match tokens[i].as_str() {
                ";" => public = false,
                "use" => public = i > 0 && (tokens[i - 1] == "pub" || tokens[i - 1] == ")"),
                _ => {}
            }
            let starts = i == 0 || tokens[i - 1] != "::";
            let first = tokens[i].as_str();
            let relative = ["crate", "super", "self"].contains(&first) || children.contains(&tokens[i]);
            if !starts || !relative || tokens.get(i + 1).is_none_or(|t| t != "::") {
                continue;
            }
            let mut paths = Vec::new();
            tree(tokens, i, &[], &mut paths);
            for path in paths {
                let mut path = path.into_iter().peekable();
                let mut absolute = module.clone();
                if path.peek().is_some_and(|p| p == "crate") {
                    absolute.clear();
                }
                for part in path {
                    match part.as_str() {
                        "crate" => {}
                        "self" => {}
                        "super" => drop(absolute.pop()),
                        _ => absolute.push(part),
                    }
                }
                if public {
                    if let Some(last) = absolute.last() {
                        handed.insert((module.clone(), last.clone()), absolute.clone());
                    }
                } else {
                    used.push((name.to_string(), absolute));
                }
            }
        }
    }
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (from, mut path) in used {
        let target = loop {
            let known = (0..=path.len()).rev().find(|&k| files.contains_key(&path[..k]));
            let Some(k) = known else { break None };
            let next = path
                .get(k)
                .and_then(|item| handed.get(&(path[..k].to_vec(), item.clone())));
            match next {
                Some(real) if *real != path => path = real.clone(),
                _ => break files.get(&path[..k]).map(|(name, _)| name.to_string()),
            }
        };
        if let Some(target) = target.filter(|target| *target != from) {
            edges.entry(from).or_default().insert(target);
        }
    }
    edges
}

/// Groups of files of which each reaches each other by imports.
fn circles(edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reach = |from: &String| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(file) = open.pop() {
            for next in edges.get(&file).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> = edges.keys().map(|file| (file, reach(file))).collect();
    let mut groups: BTreeSet<Vec<String>> = BTreeSet::new();
    for (file, seen) in reached.iter().filter(|(file, seen)| seen.contains(**file)) {
        let back = |other: &&String| reached.get(other).is_some_and(|theirs| theirs.contains(*file));
        groups.insert(seen.iter().filter(back).cloned().collect());
    }
    groups.into_iter().collect()
}

/// The room of a file of the library: its folder under `src`, or its own name.
fn room(file: &str) -> &str {
    let inside = file.trim_start_matches("src/");
    inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
}

/// Imports from a room that may not be used.
fn upward(edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let allowed = |from: &str, to: &str| {
        from == to
            || BOTTOM.contains(&to)
            || MAY_USE
                .iter()
                .any(|(room, below)| *room == from && below.contains(&to))
    };
    let all = edges
        .iter()
        .flat_map(|(from, to)| to.iter().map(move |to| (from, to)));
    all.filter(|(from, to)| !allowed(room(from), room(to)))
        .map(|(from, to)| format!("{from} uses {to}"))
        .collect()
}

/// Functions of a file with more than [`MOST_PARAMETERS`], `self` not counted, and their numbers.
fn long_signatures(source: &Source) -> Vec<(String, usize)> {
    let tokens = &source.tokens;
    let mut found = Vec::new();
    for i in (0..tokens.len()).filter(|&i| tokens[i] == "fn") {
        let Some(name) = tokens
            .get(i + 1)
            .filter(|name| name.starts_with(|c: char| c.is_alphabetic() || c == '_'))
        else {
            continue;
        };
        let Some(open) =
            (i..tokens.len()).find(|&k| tokens[k] == "(" && (i + 2 == k || tokens[k - 1] == ">"))
        else {
            continue;
        };
        let inside = &tokens[open + 1..behind(tokens, open) - 1];
        let (mut depth, mut count, mut empty) = (0i32, 0, true);
        let mut receiver = false;
        for token in inside {
            match token.as_str() {
                "(" | "[" | "{" | "<" => depth += 1,
                ")" | "]" | "}" | ">" => depth -= 1,
                "," if depth == 0 => {
                    count += usize::from(!empty);
                    empty = true;
                    continue;
                }
                "self" if depth == 0 => receiver = true,
                _ => {}
            }
            empty = false;
        }
        count += usize::from(!empty);
        count -= usize::from(receiver);
        if count > MOST_PARAMETERS {
            found.push((name.clone(), count));
        }
    }
    found
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let found = circles(&imports(&house()));
    assert!(found.is_empty(), "circles of files: {found:#?}");
}

#[test]
fn rooms_use_what_is_below_them_alone() {
    let found = upward(&imports(&house()));
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn files_and_signatures_stay_short() {
    let house = house();
    let long: Vec<_> = house
        .iter()
        .filter(|(_, s)| s.lines > MOST_LINES)
        .map(|(name, s)| (name, s.lines))
        .collect();
    assert!(long.is_empty(), "files of more than {MOST_LINES} lines: {long:?}");
    let kernel = |name: &str| house.contains_key(&format!("shaders/{name}.wgsl"));
    let stem = |name: &str| {
        Path::new(name)
            .file_stem()
            .unwrap()
            .to_string_lossy()
            .into_owned()
    };
    let mut wide = Vec::new();
    for (name, source) in house.iter().filter(|(name, _)| name.starts_with("src/")) {
        for (function, count) in long_signatures(source) {
            // What a kernel binds, its twins take.
            let twin = name.starts_with("src/engine/") && (kernel(&function) || kernel(&stem(name)));
            if !twin
                && !PARAMETERS
                    .iter()
                    .any(|(file, known, _)| file == name && *known == function)
            {
                wide.push(format!("{name}: {function} takes {count}"));
            }
        }
    }
    assert!(
        wide.is_empty(),
        "more than {MOST_PARAMETERS} parameters: {wide:#?}"
    );
}

/// A ring, an arrow upwards and a long signature that are put back are seen: the checks can fail.
#[test]
fn what_is_put_back_is_seen() {
    let mut house = house();
    let clean = imports(&house);
    let mut put = |name: &str, text: &str| {
        let source = source(name, text);
        house.insert(name.to_owned(), source)
    };
    put(
        "src/coordination/fresh/mod.rs",
        "pub mod low; pub use low::Low; use super::run::Run;",
    );
    put(
        "src/coordination/fresh/low.rs",
        "use crate::{coordination::{fresh::high::{self, High}, model}, cli}; // use crate::cli::x;",
    );
    put(
        "src/coordination/fresh/high.rs",
        "use crate::coordination::fresh::Low; fn f<T: Fn(u8, u8)>(&self, a: (u8, u8), b: [u8; 2], c: u8, d: u8, e: u8, f: u8, g: Vec<(u8, u8)>) {} \
         #[cfg(test)] mod tests { use crate::cli; }",
    );
    let edges = imports(&house);
    let ring = ["src/coordination/fresh/high.rs", "src/coordination/fresh/low.rs"]
        .map(str::to_owned)
        .to_vec();
    assert!(circles(&edges).contains(&ring), "{:?}", circles(&edges));
    let new: Vec<String> = upward(&edges)
        .into_iter()
        .filter(|line| !upward(&clean).contains(line))
        .collect();
    assert_eq!(new, ["src/coordination/fresh/low.rs uses src/cli/mod.rs"]);
    assert_eq!(
        long_signatures(&house["src/coordination/fresh/high.rs"]),
        [("f".to_owned(), 7)]
    );
}
