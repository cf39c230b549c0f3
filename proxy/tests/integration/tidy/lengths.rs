//! Length of files and functions: a limit for each, and a share that may be longer than is good.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::files;

const LONGEST_FILE: usize = 500;
/// Most files are shorter than this.
const GOOD_FILE: usize = 300;
const LONGEST_FUNCTION: usize = 70;
/// Most functions are shorter than this.
const GOOD_FUNCTION: usize = 40;
/// How many may be longer than is good, of a hundred.
const LONG_SHARE: usize = 15;

struct Function {
    name: String,
    line: usize,
    lines: usize,
}

#[derive(Default)]
struct Functions(Vec<Function>);

impl Functions {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = signature.span().start().line;
        let last = block.brace_token.span.close().end().line;
        self.0.push(Function { name: signature.ident.to_string(), line: first, lines: last - first + 1 });
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, it: &'ast syn::ItemFn) {
        self.add(&it.sig, &it.block);
        visit::visit_item_fn(self, it);
    }

    fn visit_impl_item_fn(&mut self, it: &'ast syn::ImplItemFn) {
        self.add(&it.sig, &it.block);
        visit::visit_impl_item_fn(self, it);
    }

    fn visit_trait_item_fn(&mut self, it: &'ast syn::TraitItemFn) {
        if let Some(block) = &it.default {
            self.add(&it.sig, block);
        }
        visit::visit_trait_item_fn(self, it);
    }
}

fn functions(path: &str, text: &str) -> Vec<Function> {
    let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut found = Functions::default();
    found.visit_file(&file);
    found.0
}

#[test]
fn a_function_is_measured_from_signature_to_brace() {
    let text = "/// Doc.\n#[inline]\nfn a() {\n    b();\n}\nimpl C {\n    fn d(\n        e: u8,\n    ) {}\n}\ntrait F { fn g() {} }\n";
    let measured: Vec<_> = functions("sample", text).iter().map(|f| (f.name.clone(), f.line, f.lines)).collect();
    assert_eq!(measured, [("a".into(), 3, 3), ("d".into(), 7, 3), ("g".into(), 11, 1)]);
}

#[test]
fn files_are_short() {
    let files = files::rust();
    let lines = |file: &files::File| file.text.lines().count();
    let long = files.iter().filter(|file| lines(file) > GOOD_FILE);
    let long: Vec<String> = long.map(|file| format!("{}: {} lines", file.path, lines(file))).collect();
    eprintln!("{} of {} files have more than {GOOD_FILE} lines:\n{}", long.len(), files.len(), long.join("\n"));
    assert!(long.len() * 100 <= files.len() * LONG_SHARE, "most files are shorter than {GOOD_FILE} lines");
    let too_long = files.iter().filter(|file| lines(file) > LONGEST_FILE);
    files::fail_on(&too_long.map(|file| format!("{}: {} lines", file.path, lines(file))).collect::<Vec<_>>());
}

#[test]
fn functions_are_short() {
    let (mut all, mut long, mut too_long) = (0, Vec::new(), Vec::new());
    for file in files::rust() {
        for function in functions(&file.path, &file.text) {
            all += 1;
            let it = format!("{}:{}: `{}` has {} lines", file.path, function.line, function.name, function.lines);
            match function.lines {
                0..=GOOD_FUNCTION => {}
                lines if lines <= LONGEST_FUNCTION => long.push(it),
                _ => too_long.push(it),
            }
        }
    }
    eprintln!("{} of {all} functions have more than {GOOD_FUNCTION} lines:\n{}", long.len(), long.join("\n"));
    assert!((long.len() + too_long.len()) * 100 <= all * LONG_SHARE, "most functions are shorter");
    files::fail_on(&too_long);
}
