//! Damage to files that a test chooses: changed bytes, unreadable sectors, missing ends.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::MemoryDisk;
use super::memory::Memory;

impl MemoryDisk {
    /// The content of a file.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let inner = self.inner.borrow();
        let file = inner.files.get(path)?;
        Some(file.map().all().to_vec())
    }

    /// Changes a byte of a file, as a bad medium does.
    ///
    /// # Panics
    /// If there is no such byte.
    pub fn damage(&self, path: &Path, at: usize) {
        let mut inner = self.inner.borrow_mut();
        let file = inner.files.get_mut(path).expect("the file is there");
        let changed = [file.map().bytes(at..at + 1)[0] ^ 0x55];
        file.store(at, &changed);
    }

    /// Puts other bytes into a file, as a misdirected write does.
    ///
    /// # Panics
    /// If there is no such range.
    pub fn overlay(&self, path: &Path, at: usize, bytes: &[u8]) {
        let inner = self.inner.borrow();
        inner.files[path].map().store(at, bytes);
    }

    /// Gives a file other content, as a restored copy or a broken file system does.
    ///
    /// # Panics
    /// If there is no memory for it.
    pub fn replace(&self, path: &Path, content: &[u8]) {
        let file = Memory::new(content).expect("memory for the file");
        self.inner.borrow_mut().files.insert(path.to_owned(), file);
    }

    /// Removes a file.
    pub fn remove(&self, path: &Path) {
        self.inner.borrow_mut().files.remove(path);
    }

    /// Fills a range of a file with zeroes, as lost writes do.
    ///
    /// # Panics
    /// If there is no such range.
    pub fn zero(&self, path: &Path, range: Range<usize>) {
        let mut inner = self.inner.borrow_mut();
        let file = inner.files.get_mut(path).expect("the file is there");
        file.store(range.start, &vec![0; range.len()]);
    }

    /// Shortens a file, or lengthens it with zeroes. In a map of it the cut bytes are missing.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn truncate(&self, path: &Path, len: usize) {
        let mut inner = self.inner.borrow_mut();
        let file = inner.files.get_mut(path).expect("the file is there");
        let (old, missing) = (Arc::clone(file.map()), len..file.map().all().len());
        file.resize(len);
        if !missing.is_empty() {
            old.mark_unreadable(&missing);
            old.store(missing.start, &vec![0; missing.len()]);
        }
    }

    /// Lets every read that touches a range of a file fail with `EIO`, and marks the range as unreadable in maps of the file.
    /// A crash does not repair it; new content does.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn fail_reads(&self, path: &Path, range: Range<u64>) {
        let mut inner = self.inner.borrow_mut();
        let file = inner.files.get_mut(path).expect("the file is there");
        file.unreadable.push(range);
        file.mark_unreadable();
    }
}
