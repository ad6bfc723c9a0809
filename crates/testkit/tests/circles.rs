//! Files of a crate don't import each other in a circle.
//!
//! A file imports another if one of its paths leads to an item there, through any re-exports. A
//! re-export itself is no import. Tests and the bodies of macros don't count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path as FilePath;

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree, Visibility};

/// The crates that have no circle.
const CRATES: [&str; 6] = ["frame", "ledger", "net", "pool", "server", "trace"];

/// The path of a module or an item, from the root of its crate.
type Path = Vec<String>;

/// The imports of one crate.
#[derive(Default)]
struct Imports {
    modules: BTreeSet<Path>,
    /// The names that a `use` has brought into modules, and the path that each stands for.
    names: BTreeMap<Path, Path>,
    /// Modules, and the paths that they name.
    uses: Vec<(Path, Path)>,
}

/// Collects the imports of one file.
struct Reader<'a> {
    imports: &'a mut Imports,
    /// The file's own module.
    file: Path,
    /// The module in that file.
    module: Path,
}

/// Whether an item is only for tests.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let condition = attribute.parse_args::<syn::Path>();
        attribute.path().is_ident("cfg") && condition.is_ok_and(|path| path.is_ident("test"))
    })
}

impl Reader<'_> {
    /// Returns the path from the root of the crate, if it begins in this crate.
    fn absolute(&self, path: &[String]) -> Option<Path> {
        let supers = path.iter().take_while(|part| *part == "super").count();
        let depth = self.module.len().checked_sub(supers)?;
        let (above, first) = (&self.module[..depth], path.first()?);
        match first.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([above, &path[1..]].concat()),
            "super" => Some([above, &path[supers..]].concat()),
            name => {
                let child = [above, &[name.to_owned()]].concat();
                let is_child = self.imports.modules.contains(&child);
                is_child.then(|| [above, path].concat())
            }
        }
    }

    fn note(&mut self, path: &[String]) {
        if let Some(path) = self.absolute(path) {
            self.imports.uses.push((self.file.clone(), path));
        }
    }

    /// Notes all paths of a `use` that begin with `before`.
    fn tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |ident: &syn::Ident| [before, &[ident.to_string()]].concat();
        let (path, name) = match tree {
            UseTree::Path(path) => return self.tree(&with(&path.ident), &path.tree),
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.tree(before, tree));
            }
            UseTree::Glob(_) => return self.note(before),
            UseTree::Name(name) if name.ident == "self" => {
                (before.to_vec(), before.last().cloned())
            }
            UseTree::Name(name) => (with(&name.ident), Some(name.ident.to_string())),
            UseTree::Rename(rename) => (with(&rename.ident), Some(rename.rename.to_string())),
        };
        if let (Some(path), Some(name)) = (self.absolute(&path), name) {
            let name = [&self.module[..], &[name]].concat();
            self.imports.names.insert(name, path);
        }
        self.note(&path);
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            _ => &[],
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let before = self.imports.uses.len();
        self.tree(&[], &item.tree);
        if !matches!(item.vis, Visibility::Inherited) {
            // What imports the re-export imports its target.
            self.imports.uses.truncate(before);
        }
    }

    // `pub(super)` imports nothing.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        // A single name is a variable, or was brought by a `use`.
        if path.segments.len() > 1 {
            let parts = path.segments.iter().map(|part| part.ident.to_string());
            self.note(&parts.collect::<Path>());
        }
        visit::visit_path(self, path);
    }
}

/// Removes the modules that are only for tests, with those below.
fn without_tests(sources: &mut BTreeMap<Path, syn::File>) {
    let tests = sources.iter().flat_map(|(module, file)| {
        let is_test_module = |item: &&ItemMod| item.content.is_none() && is_test(&item.attrs);
        let modules = file.items.iter().filter_map(|item| match item {
            Item::Mod(item) => Some(item),
            _ => None,
        });
        let tests = modules.filter(is_test_module);
        tests.map(|item| [&module[..], &[item.ident.to_string()]].concat())
    });
    let tests: Vec<Path> = tests.collect();
    sources.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
}

impl Imports {
    /// Reads the modules of a crate.
    fn of(mut sources: BTreeMap<Path, syn::File>) -> Self {
        without_tests(&mut sources);
        let mut imports = Self {
            modules: sources.keys().cloned().collect(),
            ..Self::default()
        };
        for (module, file) in sources {
            let imports = &mut imports;
            let mut reader = Reader {
                imports,
                file: module.clone(),
                module,
            };
            reader.visit_file(&file);
        }
        imports
    }

    /// Returns the module that has the item at this path.
    fn home(&self, path: &[String]) -> Path {
        let mut path = path.to_vec();
        // A name that is imported under itself, as by `use fields::{self}`, would have no end.
        for _ in 0..8 {
            let lengths = (0..=path.len()).rev();
            let mut modules = lengths.filter(|length| self.modules.contains(&path[..*length]));
            let depth = modules.next().unwrap_or(0);
            let name = path.get(..=depth).and_then(|name| self.names.get(name));
            let Some(target) = name else {
                path.truncate(depth);
                break;
            };
            path = [target, &path[depth + 1..]].concat();
        }
        path
    }

    /// Returns which modules each module imports. The root is left out: it has re-exports, and
    /// functions that use everything.
    fn edges(&self) -> BTreeMap<&Path, BTreeSet<Path>> {
        let mut edges: BTreeMap<_, BTreeSet<Path>> = BTreeMap::new();
        for (module, path) in &self.uses {
            let home = self.home(path);
            if home != *module && !home.is_empty() && !module.is_empty() {
                edges.entry(module).or_default().insert(home);
            }
        }
        edges
    }

    /// Returns the circles, a line for each module in one: the module, and what it imports there.
    fn circles(&self) -> Vec<String> {
        let edges = self.edges();
        let leads_to = |from: &Path, to: &Path| {
            let mut reached = BTreeSet::from([from]);
            let mut next = vec![from];
            while let Some(module) = next.pop() {
                let imported = edges.get(module).into_iter().flatten();
                next.extend(imported.filter(|module| reached.insert(*module)));
            }
            reached.contains(to)
        };
        let lines = edges.iter().filter_map(|(module, imported)| {
            let inside = imported.iter().filter(|other| leads_to(other, module));
            let inside: Vec<String> = inside.map(|other| other.join("::")).collect();
            let line = format!("{} -> {}", module.join("::"), inside.join(", "));
            (!inside.is_empty()).then_some(line)
        });
        lines.collect()
    }
}

/// Reads the sources below a directory.
fn read(dir: &FilePath, module: &Path, sources: &mut BTreeMap<Path, syn::File>) {
    for entry in fs::read_dir(dir).expect("the crate can be listed") {
        let path = entry.expect("the crate can be listed").path();
        let name = path.file_stem().and_then(|name| name.to_str());
        let name = name.expect("the file's name is UTF-8");
        let module = match name {
            "lib" | "main" | "mod" => module.clone(),
            name => [&module[..], &[name.to_owned()]].concat(),
        };
        if path.is_dir() {
            read(&path, &module, sources);
        } else if path.extension().is_some_and(|ext| ext == "rs") && name != "main" {
            let text = fs::read_to_string(&path).expect("the file can be read");
            let file = syn::parse_file(&text);
            sources.insert(module, file.expect("the file is Rust"));
        }
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    for name in CRATES {
        let dir = FilePath::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(name);
        let mut sources = BTreeMap::new();
        read(&dir.join("src"), &Path::new(), &mut sources);
        assert!(sources.len() > 5, "{name}: {:?}", sources.keys());
        let circles = Imports::of(sources).circles();
        assert!(circles.is_empty(), "{name}:\n{}", circles.join("\n"));
    }
}

#[test]
fn circles_are_found() {
    let circles = |sources: &[(&str, &str)]| {
        let path = |name: &str| -> Path {
            let parts = name.split("::").filter(|part| !part.is_empty());
            parts.map(str::to_owned).collect()
        };
        let file = |text| syn::parse_file(text).expect("the text is Rust");
        let sources = sources.iter().map(|(name, text)| (path(name), file(text)));
        Imports::of(sources.collect()).circles()
    };
    let none: [&str; 0] = [];
    for (sources, expected) in [
        (
            &[("a", "use crate::b::B;"), ("b", "use super::a::A;")][..],
            &["a -> b", "b -> a"][..],
        ),
        (&[("a", "use crate::b::B;"), ("b", "")], &none),
        // Through a re-export, a path and three files.
        (
            &[
                ("", "pub use c::C;"),
                ("a", "use crate::{self, b::{self, B}};"),
                ("b", "fn f() -> crate::C {}"),
                ("c", "type A = super::a::A;"),
            ],
            &["a -> b", "b -> c", "c -> a"],
        ),
        // A parent and its child.
        (
            &[("a", "mod b; fn f() { b::g() }"), ("a::b", "use super::A;")],
            &["a -> a::b", "a::b -> a"],
        ),
        (
            &[
                ("a", "mod b; mod c; pub use b::B;"),
                ("a::b", "pub(super) struct B;"),
                ("a::c", "use super::B;"),
            ],
            &none[..],
        ),
        // In a module in a file, `super` is the file.
        (
            &[
                ("a", "mod c { use super::B; use super::super::b; }"),
                ("b", "use crate::a::c::C;"),
            ],
            &["a -> b", "b -> a"],
        ),
        // Tests, and what they import, don't count.
        (
            &[
                (
                    "a",
                    "use crate::b::B; #[cfg(test)] mod tests { use crate::b; }",
                ),
                ("b", "#[cfg(test)] mod tests; #[cfg(test)] use crate::a::A;"),
                ("b::tests", "use crate::a::A;"),
            ],
            &none,
        ),
    ] {
        assert_eq!(circles(sources), expected, "{sources:?}");
    }
}
