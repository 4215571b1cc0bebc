//! Publications that are composed, compressed and checksummed before the clock starts.

use std::ops::Range;

use super::corpus::Corpus;
use super::target::Target;
use crate::failure::Failure;

/// Different publications of each topic, at most, and their bytes, all together.
const VARIANTS_MAX: usize = 256;
const BYTES_MAX: usize = 64 << 20;

/// Publications in a circle: number `p` goes to topic `p % groups`.
#[derive(Debug)]
pub(crate) struct Composed {
    publications: Vec<Vec<u8>>,
    /// What is compared of the payloads of each.
    sums: Vec<u32>,
    /// Payload bytes of the whole circle.
    payload_bytes: u64,
}

impl Composed {
    /// Composes what `count` publications of `batch` payloads to `topics`, by number, need.
    pub(crate) fn new(
        target: &dyn Target,
        corpus: &Corpus,
        topics: Range<usize>,
        batch: usize,
        count: usize,
    ) -> Result<Self, Failure> {
        let groups = topics.len();
        let variants = corpus
            .len()
            .div_ceil(batch)
            .min(VARIANTS_MAX)
            .min(count.div_ceil(groups))
            .max(1);
        let (mut publications, mut sums) = (Vec::new(), Vec::new());
        let (mut payload_bytes, mut bytes) = (0, 0);
        for variant in 0..variants {
            if variant > 0 && bytes > BYTES_MAX {
                break;
            }
            for group in 0..groups {
                let first = (variant * groups + group) * batch;
                let payloads: Vec<&[u8]> = (first..first + batch)
                    .map(|number| corpus.payload(number))
                    .collect();
                let mut publication = Vec::new();
                target
                    .compose(topics.start + group, &payloads, &mut publication)
                    .map_err(Failure::Usage)?;
                payload_bytes += payloads
                    .iter()
                    .map(|payload| payload.len() as u64)
                    .sum::<u64>();
                bytes += publication.len();
                publications.push(publication);
                sums.push(target.sum(&payloads));
            }
        }
        Ok(Self {
            publications,
            sums,
            payload_bytes,
        })
    }

    pub(crate) fn publication(&self, number: usize) -> &[u8] {
        &self.publications[number % self.publications.len()]
    }

    /// What [`Target::sum`] says of it.
    pub(crate) fn sum(&self, number: usize) -> u32 {
        self.sums[number % self.sums.len()]
    }

    /// Bytes of the largest one.
    pub(crate) fn largest(&self) -> usize {
        self.publications
            .iter()
            .map(Vec::len)
            .max()
            .unwrap_or(1)
            .max(1)
    }

    /// Bytes on the wire of the first `count` publications.
    pub(crate) fn wire_bytes(&self, count: usize) -> u64 {
        let whole: u64 = self
            .publications
            .iter()
            .map(|publication| publication.len() as u64)
            .sum();
        let rounds = (count / self.publications.len()) as u64;
        let rest = &self.publications[..count % self.publications.len()];
        rounds * whole
            + rest
                .iter()
                .map(|publication| publication.len() as u64)
                .sum::<u64>()
    }

    /// Bytes on the wire for each byte of payload.
    pub(crate) fn ratio(&self) -> f64 {
        self.wire_bytes(self.publications.len()) as f64 / self.payload_bytes.max(1) as f64
    }
}
