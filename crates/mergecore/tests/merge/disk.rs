//! What a disk may hold after the machine has lost power.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use mergecore::StorageCall;

use crate::support::Random;

/// A directory on a disk that keeps no more than it must: what was synced.
///
/// Of a file, each write that came after its last sync may be lost, be zeros, all of it or a
/// sector, or be cut off. Of
/// the changes to a directory's entries after its last sync, in their order, the last ones may
/// be lost, whatever became of other directories'; what changes two directories at once, as some
/// renames do, is in both or in neither, and takes what comes before it in either with it.
pub(crate) struct Disk {
    root: PathBuf,
    /// The root first.
    nodes: Vec<Node>,
    /// Those that may be lost, in order.
    changes: Vec<Change>,
}

/// Bytes that reach a disk together.
const SECTOR: usize = 512;

enum Node {
    Directory { stored: Entries, now: Entries },
    File(File),
}

type Entries = BTreeMap<OsString, usize>;

#[derive(Default)]
struct File {
    stored: Vec<u8>,
    /// Since then.
    writes: Vec<Range<u64>>,
    /// With all that was written, where the file itself cannot be asked any more.
    last: Vec<u8>,
}

/// Directories' entries, and to which node they lead from then on.
type Change = Vec<(usize, OsString, Option<usize>)>;

/// How much of the changes to entries that may be lost is there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Survive {
    Nothing,
    Some,
    Everything,
}

impl Disk {
    /// All that is there is on the disk.
    pub(crate) fn new(root: &Path) -> Self {
        let mut disk = Disk { root: root.to_owned(), nodes: Vec::new(), changes: Vec::new() };
        disk.scan(root);
        disk
    }

    fn scan(&mut self, path: &Path) -> usize {
        let node = self.nodes.len();
        if path.is_file() {
            let stored = fs::read(path).unwrap();
            self.nodes.push(Node::File(File { stored, ..File::default() }));
            return node;
        }
        self.nodes.push(Node::directory());
        let names = names(path).into_iter();
        let stored: Entries =
            names.map(|name| (name.clone(), self.scan(&path.join(name)))).collect();
        self.nodes[node] = Node::Directory { now: stored.clone(), stored };
        node
    }

    /// Takes note of a call that is about to be made, and will not fail.
    pub(crate) fn before(&mut self, call: &StorageCall<'_>) {
        let path = call.path();
        match call {
            StorageCall::CreateDirectory { .. } => {
                let missing = path.ancestors().take_while(|dir| self.find(dir).is_none());
                missing.collect::<Vec<_>>().iter().rev().for_each(|dir| {
                    self.add(dir, Node::directory());
                });
            }
            StorageCall::Create { .. } if self.find(path).is_none() => {
                self.add(path, Node::File(File::default()));
            }
            StorageCall::SetLength { bytes, .. } => self.write(path, bytes.end..bytes.end),
            StorageCall::Write { bytes, .. } | StorageCall::Copy { bytes, .. } => {
                self.write(path, bytes.clone());
            }
            StorageCall::Sync { .. } => self.sync(path),
            StorageCall::Rename { to, .. } => {
                let node = self.find(path);
                self.change(&[(path, None), (to, node)]);
            }
            StorageCall::Exchange { with, .. } => {
                let nodes = (self.find(path), self.find(with));
                self.change(&[(path, nodes.1), (with, nodes.0)]);
            }
            // What is not empty stays.
            StorageCall::Remove { .. } if path.is_file() || names(path).is_empty() => {
                self.remove(path);
            }
            StorageCall::RemoveAll { .. } => self.remove(path),
            _ => {}
        }
    }

    /// What bears a name now, if that is on this disk.
    fn find(&self, path: &Path) -> Option<usize> {
        path.strip_prefix(&self.root).ok()?.iter().try_fold(0, |node, name| {
            let Node::Directory { now, .. } = &self.nodes[node] else { return None };
            now.get(name).copied()
        })
    }

    fn add(&mut self, path: &Path, node: Node) {
        self.nodes.push(node);
        self.change(&[(path, Some(self.nodes.len() - 1))]);
    }

    fn change(&mut self, entries: &[(&Path, Option<usize>)]) {
        let entry = |(path, node): &(&Path, Option<usize>)| {
            let dir = self.find(path.parent().unwrap()).expect("a directory on this disk");
            (dir, path.file_name().unwrap().to_owned(), *node)
        };
        let change: Change = entries.iter().map(entry).collect();
        for (dir, name, node) in &change {
            if let Node::Directory { now, .. } = &mut self.nodes[*dir] {
                set(now, name, *node);
            }
        }
        self.changes.push(change);
    }

    fn write(&mut self, path: &Path, bytes: Range<u64>) {
        match self.find(path).map(|node| &mut self.nodes[node]) {
            Some(Node::File(file)) => file.writes.push(bytes),
            _ => panic!("{} is written and not there", path.display()),
        }
    }

    fn remove(&mut self, path: &Path) {
        let Some(node) = self.find(path) else { return };
        match &mut self.nodes[node] {
            Node::File(file) => file.last = fs::read(path).unwrap(),
            Node::Directory { now, .. } => {
                let names: Vec<OsString> = now.keys().cloned().collect();
                names.iter().for_each(|name| self.remove(&path.join(name)));
            }
        }
        self.change(&[(path, None)]);
    }

    fn sync(&mut self, path: &Path) {
        let Some(node) = self.find(path) else { return };
        if let Node::File(file) = &mut self.nodes[node] {
            *file = File { stored: fs::read(path).unwrap(), ..File::default() };
            return;
        }
        let (mut dirs, mut synced) = (BTreeSet::from([node]), Vec::new());
        for index in (0..self.changes.len()).rev() {
            if self.changes[index].iter().any(|(dir, ..)| dirs.contains(dir)) {
                dirs.extend(self.changes[index].iter().map(|(dir, ..)| *dir));
                synced.push(self.changes.remove(index));
            }
        }
        for (dir, name, node) in synced.into_iter().rev().flatten() {
            if let Node::Directory { stored, .. } = &mut self.nodes[dir] {
                set(stored, &name, node);
            }
        }
    }

    /// Whether nothing may be lost.
    pub(crate) fn is_synced(&self) -> bool {
        let is_synced = |node: &Node| match node {
            Node::Directory { .. } => true,
            Node::File(file) => file.writes.is_empty(),
        };
        self.changes.is_empty() && self.nodes.iter().all(is_synced)
    }

    /// The last that is seen before the power goes. Nothing must have been done of which no
    /// call told.
    pub(crate) fn power_off(&mut self) {
        self.look_at(0, &self.root.clone());
    }

    fn look_at(&mut self, node: usize, path: &Path) {
        match &mut self.nodes[node] {
            Node::File(file) => {
                file.last = fs::read(path).unwrap();
                let is_known = !file.writes.is_empty() || file.last == file.stored;
                assert!(is_known, "{} was written to past the hook", path.display());
            }
            Node::Directory { now, .. } => {
                let now = now.clone();
                assert!(names(path).iter().eq(now.keys()), "{}: {now:?}", path.display());
                now.into_iter().for_each(|(name, node)| self.look_at(node, &path.join(name)));
            }
        }
    }

    /// Puts what is found when the power is back in place of what is there.
    pub(crate) fn power_on(&self, survive: Survive, random: &mut Random) {
        let dirs = |change: &Change| change.iter().map(|(dir, ..)| *dir).collect::<BTreeSet<_>>();
        let mut left: BTreeMap<usize, usize> = BTreeMap::new();
        for dir in self.changes.iter().flat_map(dirs) {
            *left.entry(dir).or_default() += 1;
        }
        for left in left.values_mut() {
            match survive {
                Survive::Nothing => *left = 0,
                Survive::Some => *left = random.below(*left + 1),
                Survive::Everything => {}
            }
        }
        let mut found: Vec<Option<Entries>> = self.nodes.iter().map(Node::stored).collect();
        for change in &self.changes {
            let survives = dirs(change).iter().all(|dir| left[dir] > 0);
            for dir in dirs(change) {
                left.insert(dir, if survives { left[&dir] - 1 } else { 0 });
            }
            for (dir, name, node) in change {
                if survives && let Some(entries) = &mut found[*dir] {
                    set(entries, name, *node);
                }
            }
        }
        fs::remove_dir_all(&self.root).unwrap();
        self.put(0, &found, &self.root, random);
    }

    fn put(&self, node: usize, found: &[Option<Entries>], path: &Path, random: &mut Random) {
        match &self.nodes[node] {
            Node::File(file) => fs::write(path, file.remains(random)).unwrap(),
            Node::Directory { .. } => {
                fs::create_dir(path).unwrap();
                for (name, node) in found[node].iter().flatten() {
                    self.put(*node, found, &path.join(name), random);
                }
            }
        }
    }
}

impl Node {
    fn directory() -> Self {
        Node::Directory { stored: Entries::new(), now: Entries::new() }
    }

    fn stored(&self) -> Option<Entries> {
        match self {
            Node::Directory { stored, .. } => Some(stored.clone()),
            Node::File(_) => None,
        }
    }
}

impl File {
    fn remains(&self, random: &mut Random) -> Vec<u8> {
        let File { stored, writes, last } = self;
        if writes.is_empty() {
            return stored.clone();
        }
        let mut content = match random.below(4) {
            0 => return stored.clone(),
            1 => return last.clone(),
            _ => last.clone(),
        };
        for range in writes {
            let range = range.start as usize..content.len().min(range.end as usize);
            match random.below(4) {
                0 if !range.is_empty() => content[range].fill(0),
                3 if !range.is_empty() => {
                    let sector = (range.start + random.below(range.len())) / SECTOR * SECTOR;
                    let end = range.end.min(sector + SECTOR);
                    content[range.start.max(sector)..end].fill(0);
                }
                1 => range.for_each(|at| content[at] = stored.get(at).copied().unwrap_or(0)),
                _ => {}
            }
        }
        if random.below(4) == 0 {
            let cut = writes[random.below(writes.len())].start as usize;
            content.truncate(cut.max(stored.len()));
        }
        content
    }
}

/// What is in a directory.
fn names(dir: &Path) -> BTreeSet<OsString> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

fn set(entries: &mut Entries, name: &OsString, node: Option<usize>) {
    match node {
        Some(node) => drop(entries.insert(name.clone(), node)),
        None => drop(entries.remove(name)),
    }
}
