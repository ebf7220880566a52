//! Which files a schema consists of, and where they are found.
//!
//! A location is a hint (XSD 1.0 Part 1, 4.2.3). A relative one leads from the place of the file that
//! writes it, and never out of the directory. A URL leads to what the operator's [`Catalog`] says, or
//! to its mirror `<host>/<path>`; nothing is ever fetched. What an import does not find may come by
//! its namespace: from a file that another link has found, by the catalogue, or with the binary. If it
//! comes from nowhere, it is missed only where something refers to it.
//!
//! What comes out is a [`Snapshot`] whose links are all relative and all lead somewhere, so that no
//! engine has to look for anything.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Finding;
use super::built_in::{self, BuiltIn};
use super::catalog::Catalog;
use super::location;
use super::names::is_space;
use super::schema_part::{Link, Part};
use super::snapshot::{Edition, Origin, Snapshot, is_missing, read_inside};

/// Files of one schema: more than the largest published set has, which has about two thousand.
const FILES_MAX: usize = 4096;

/// Bytes of all files of one schema. A compiled schema takes several times as much.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// How the schemas of a directory are put together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaFiles {
    /// Which files are meant by URLs.
    pub catalog: Catalog,
    /// By which edition schemas are read that operators have said it of, whatever they say themselves.
    pub editions: BTreeMap<String, Edition>,
    /// The schemas that interfaces use, which are such even where they are parts of others.
    pub used: BTreeSet<String>,
}

impl SchemaFiles {
    /// The schemas among the files `<name>.xsd`. A file that is a part of another one, as far as
    /// that can be read, is a schema of its own only if an interface uses it.
    pub(super) fn read(
        &self,
        dir: &Path,
        names: &BTreeSet<String>,
    ) -> BTreeMap<String, Result<Snapshot, String>> {
        let mut shelf = Shelf {
            dir,
            parts: BTreeMap::new(),
        };
        let mut gathered = BTreeMap::new();
        for name in names {
            let mut gathering = Gathering::new(&self.catalog, &mut shelf);
            let outcome = gathering.run(&main_of(name));
            gathered.insert(name.clone(), (gathering.found, outcome));
        }
        let is_schema = |name: &str| {
            let file = main_of(name);
            let mut others = gathered.iter().filter(|(other, _)| *other != name);
            self.used.contains(name) || !others.any(|(_, (found, _))| found.reached.contains(&file))
        };
        let schemas = gathered.iter().filter(|(name, _)| is_schema(name));
        let snapshots = schemas.map(|(name, (found, outcome))| {
            let edition = self.editions.get(name).copied();
            let snapshot =
                (outcome.clone()).map(|()| found.snapshot(&main_of(name)).with_edition(edition));
            (name.clone(), snapshot)
        });
        snapshots.collect()
    }

    /// The schema of this name in one file, whatever else is in the directory.
    pub(super) fn read_one(&self, dir: &Path, name: &str, file: &str) -> Result<Snapshot, String> {
        let mut shelf = Shelf {
            dir,
            parts: BTreeMap::new(),
        };
        let mut gathering = Gathering::new(&self.catalog, &mut shelf);
        gathering.run(file)?;
        let edition = self.editions.get(name).copied();
        Ok(gathering.found.snapshot(file).with_edition(edition))
    }
}

impl Snapshot {
    /// The schema `<name>.xsd` of a directory with all that it links to.
    ///
    /// # Errors
    /// What is missing or cannot be read, in words.
    pub fn of_schema(dir: &Path, name: &str) -> Result<Snapshot, String> {
        SchemaFiles::default().read_one(dir, name, &main_of(name))
    }
}

fn main_of(name: &str) -> String {
    format!("{name}.xsd")
}

/// The files that were read for one look at the directory, each once.
struct Shelf<'d> {
    dir: &'d Path,
    parts: BTreeMap<String, Result<Arc<Part>, Lack>>,
}

/// Why there is no part.
#[derive(Clone)]
enum Lack {
    /// A directory is there, as that of a mirror is at the beginning of its URLs.
    Directory(String),
    Missing,
    Unusable(String),
}

impl Shelf<'_> {
    fn part(&mut self, file: &str) -> Result<Arc<Part>, Lack> {
        if let Some(part) = self.parts.get(file) {
            return part.clone();
        }
        let part = match read_inside(self.dir, file) {
            Ok(bytes) => parsed(file, &bytes).map_err(Lack::Unusable),
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                Err(Lack::Directory(format!("{file}: {error}")))
            }
            Err(error) if is_missing(&error) => Err(Lack::Missing),
            Err(error) => Err(Lack::Unusable(format!("{file}: {error}"))),
        };
        self.parts.insert(file.to_owned(), part.clone());
        part
    }
}

fn parsed(file: &str, bytes: &[u8]) -> Result<Arc<Part>, String> {
    let part = Part::read(bytes).map_err(|finding| format!("{file}:{finding}"))?;
    Ok(Arc::new(part))
}

/// What was found so far of one schema.
#[derive(Default)]
struct Found {
    assumed: Vec<String>,
    bytes: usize,
    /// In the order in which they were found.
    order: Vec<String>,
    parts: BTreeMap<String, (Arc<Part>, Origin)>,
    /// All files that links lead to, whatever is in them.
    reached: BTreeSet<String>,
    /// Where each link of each file leads, in the order of the links.
    targets: BTreeMap<String, Vec<Option<String>>>,
    /// The imports of what is referred to that say no location, for people.
    unlocated: Vec<String>,
}

impl Found {
    fn snapshot(&self, main: &str) -> Snapshot {
        let linked = |(file, (part, _)): (&String, &(Arc<Part>, Origin))| {
            (file.clone(), part.linked(file, &self.targets[file]))
        };
        let origins = self.parts.iter().filter(|(file, _)| *file != main);
        Snapshot::new(
            main,
            self.parts.iter().map(linked).collect(),
            origins
                .map(|(file, (_, origin))| (file.clone(), origin.clone()))
                .collect(),
            self.assumed.clone(),
        )
        .with_unlocated(self.unlocated.clone())
    }

    /// The file that was found first of those with the components of a namespace.
    fn supplier(&self, namespace: Option<&str>) -> Option<&String> {
        let supplies = |file: &&String| {
            let (part, _) = &self.parts[*file];
            part.target_namespace.as_deref() == namespace
        };
        self.order.iter().find(supplies)
    }
}

/// An import that no location has satisfied.
struct Pending {
    file: String,
    part: Arc<Part>,
    link: usize,
    looked: Vec<String>,
}

impl Pending {
    fn link(&self) -> &Link {
        &self.part.links[self.link]
    }

    fn namespace(&self) -> Option<&str> {
        self.link().namespace.as_deref()
    }

    /// Does its file refer to anything of its namespace?
    fn is_referred_to(&self) -> bool {
        let namespace = self.namespace().map(str::to_owned);
        self.part.referred.contains(&namespace)
    }

    fn told(&self, message: &str) -> String {
        format!("{}:{}", self.file, self.link().finding(message))
    }
}

struct Gathering<'g, 'd> {
    catalog: &'g Catalog,
    /// The first of the links that lead to nothing usable.
    fault: Option<String>,
    found: Found,
    pending: Vec<Pending>,
    shelf: &'g mut Shelf<'d>,
}

impl<'g, 'd> Gathering<'g, 'd> {
    fn new(catalog: &'g Catalog, shelf: &'g mut Shelf<'d>) -> Self {
        Gathering {
            catalog,
            fault: None,
            found: Found::default(),
            pending: Vec::new(),
            shelf,
        }
    }

    fn run(&mut self, main: &str) -> Result<(), String> {
        let part = self.shelf.part(main).map_err(|lack| match lack {
            Lack::Missing => format!("{main}: the file is gone"),
            Lack::Directory(why) | Lack::Unusable(why) => why,
        })?;
        self.take(main, part, Origin::Directory)?;
        let mut n_followed = 0;
        loop {
            while let Some(file) = self.found.order.get(n_followed).cloned() {
                self.follow(&file)?;
                n_followed += 1;
            }
            if !self.supply()? {
                break;
            }
        }
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        std::mem::take(&mut self.pending)
            .iter()
            .try_for_each(|pending| self.settle(pending))
    }

    fn take(&mut self, file: &str, part: Arc<Part>, origin: Origin) -> Result<(), String> {
        let found = &mut self.found;
        if found.parts.contains_key(file) {
            return Ok(());
        }
        found.bytes += part.bytes();
        if found.parts.len() == FILES_MAX || found.bytes > BYTES_MAX {
            return Err(format!(
                "it consists of more than {FILES_MAX} files or {BYTES_MAX} bytes"
            ));
        }
        found.order.push(file.to_owned());
        found
            .targets
            .insert(file.to_owned(), vec![None; part.links.len()]);
        found.parts.insert(file.to_owned(), (part, origin));
        Ok(())
    }

    /// Takes in all that the locations of a file lead to. One that leads to nothing usable does not
    /// keep the others from being followed: what is a part is to be known.
    fn follow(&mut self, file: &str) -> Result<(), String> {
        let (part, _) = self.found.parts[file].clone();
        for (n, link) in part.links.iter().enumerate() {
            match self.look(file, link) {
                Ok(Ok((target, part, origin))) => {
                    self.take(&target, part, origin)?;
                    self.lead(file, n, target);
                }
                Ok(Err(looked)) if link.is_import => self.pending.push(Pending {
                    file: file.to_owned(),
                    part: Arc::clone(&part),
                    link: n,
                    looked,
                }),
                Ok(Err(looked)) => {
                    let finding = link.finding(&format!("it is not there: {}", sought(&looked)));
                    self.fault.get_or_insert(format!("{file}:{finding}"));
                }
                Err(why) => {
                    self.fault.get_or_insert(why);
                }
            }
        }
        Ok(())
    }

    fn lead(&mut self, file: &str, link: usize, target: String) {
        let targets = self.found.targets.get_mut(file);
        if let Some(place) = targets.and_then(|targets| targets.get_mut(link)) {
            *place = Some(target);
        }
    }

    /// The file that a location leads to, or where it was looked for.
    fn look(&mut self, file: &str, link: &Link) -> Result<Result<Place, Vec<String>>, String> {
        let Some(written) = &link.location else {
            return Ok(Err(Vec::new()));
        };
        // White space around a URI is none of it (XSD 1.0 Part 2, 3.2.17).
        let written = written.trim_matches(is_space);
        let (candidates, mut looked) = self.candidates(file, written);
        for (path, origin) in candidates {
            let part = self.shelf.part(&path);
            if !matches!(part, Err(Lack::Missing)) {
                self.found.reached.insert(path.clone());
            }
            match part {
                Ok(part) => return Ok(Ok((path, part, origin))),
                Err(Lack::Directory(why)) if origin == Origin::Directory => return Err(why),
                Err(Lack::Directory(_) | Lack::Missing) => {
                    looked.push(self.shelf.dir.join(&path).display().to_string());
                }
                Err(Lack::Unusable(why)) => return Err(why),
            }
        }
        let known = built_in::ALL.iter().find(|known| known.is_at(written));
        match known.filter(|_| !link.is_import) {
            Some(known) => Ok(Ok(self.built_in(known)?)),
            None => Ok(Err(looked)),
        }
    }

    /// The paths at which a location may be found, the best first, and what is no path.
    fn candidates(&self, file: &str, written: &str) -> (Vec<(String, Origin)>, Vec<String>) {
        let outside = || format!("\"{written}\" (not inside the directory)");
        if location::scheme(written).is_none() {
            let relative = written.split('#').next().unwrap_or_default();
            let directory = location::directory_of(file);
            let path =
                location::decoded(relative).and_then(|path| location::join(directory, &path));
            return match path {
                Some(path) => (vec![(path, Origin::Directory)], Vec::new()),
                None => (Vec::new(), vec![outside()]),
            };
        }
        let listed = self
            .catalog
            .find(written)
            .map(|path| (path, Origin::Catalog(written.into())));
        let looked = match listed {
            Some(_) => Vec::new(),
            None => vec![format!("\"{written}\" in schemas.catalog")],
        };
        let mirrored = location::mirror(written).map(|path| (path, Origin::Mirror(written.into())));
        (listed.into_iter().chain(mirrored).collect(), looked)
    }

    /// The operator's own copy in the mirror, else the one of the binary, as if it lay there.
    fn built_in(&mut self, known: &BuiltIn) -> Result<Place, String> {
        let path = known.path();
        match self.shelf.part(&path) {
            Ok(part) => Ok((path, part, Origin::Mirror(known.urls[0].into()))),
            Err(Lack::Unusable(why)) => Err(why),
            Err(Lack::Directory(_) | Lack::Missing) => {
                let part = parsed(&path, known.bytes)?;
                Ok((path, part, Origin::BuiltIn))
            }
        }
    }

    /// Takes in a file for a namespace that an import needs and no file supplies, if there is one.
    fn supply(&mut self) -> Result<bool, String> {
        let needed = self.pending.iter().filter_map(Pending::namespace);
        let lacking = needed.filter(|uri| self.found.supplier(Some(uri)).is_none());
        let lacking: BTreeSet<String> = lacking.map(str::to_owned).collect();
        for namespace in &lacking {
            if let Some((path, part, origin)) = self.by_namespace(namespace)?
                && !self.found.parts.contains_key(&path)
            {
                self.take(&path, part, origin)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn by_namespace(&mut self, namespace: &str) -> Result<Option<Place>, String> {
        if let Some(path) = self.catalog.find(namespace) {
            match self.shelf.part(&path) {
                Ok(part) => return Ok(Some((path, part, Origin::Catalog(namespace.to_owned())))),
                Err(Lack::Unusable(why)) => return Err(why),
                Err(Lack::Directory(_) | Lack::Missing) => {}
            }
        }
        let known = built_in::ALL
            .iter()
            .find(|known| known.namespace == namespace);
        known.map(|known| self.built_in(known)).transpose()
    }

    /// Is the supplier of what is needed known here by its namespace alone, and by nothing that the
    /// schema says?
    fn is_by_namespace(&self, pending: &Pending, supplier: &str) -> bool {
        let (_, origin) = &self.found.parts[supplier];
        let is_by_namespace = match origin {
            Origin::BuiltIn => true,
            Origin::Catalog(url) => Some(url.as_str()) == pending.namespace(),
            Origin::Directory | Origin::Mirror(_) => false,
        };
        is_by_namespace && pending.link().location.is_none() && pending.is_referred_to()
    }

    /// Decides on an import once all is found that locations lead to.
    fn settle(&mut self, pending: &Pending) -> Result<(), String> {
        let namespace = pending.namespace();
        let name = namespace.map_or("no namespace".to_owned(), |uri| format!("namespace {uri}"));
        if let Some(supplier) = self.found.supplier(namespace).cloned() {
            if self.is_by_namespace(pending, &supplier) {
                let Finding { line, .. } = pending.link().finding("");
                let what = format!("an import of {name} without a schemaLocation");
                self.found
                    .unlocated
                    .push(format!("{}:{line}: {what}", pending.file));
            }
            if let Some(written) = &pending.link().location
                && !built_in::ALL.iter().any(|known| known.path() == supplier)
            {
                let taken = format!("{written} is not there and {name} taken from {supplier}");
                self.found.assumed.push(taken);
            }
            self.lead(&pending.file, pending.link, supplier);
            return Ok(());
        }
        if namespace.is_some_and(built_in::is_in_every_schema) {
            return Ok(());
        }
        if pending.is_referred_to() {
            let message = format!(
                "what this refers to in {name} is not there: {}",
                sought(&pending.looked)
            );
            return Err(pending.told(&message));
        }
        let unused = format!(
            "nothing in {} refers to {name}, which is not there",
            pending.file
        );
        self.found.assumed.push(unused);
        Ok(())
    }
}

/// A file that was found: its path, what it is, and by what it was found.
type Place = (String, Arc<Part>, Origin);

fn sought(looked: &[String]) -> String {
    match looked {
        [] => "it has no schemaLocation".to_owned(),
        _ => format!("looked for {}", looked.join(", ")),
    }
}
