//! Compression in independent blocks on all cores (design D8, crates.md section 3).
//!
//! Owns the blocks: gzip members of 1 MiB by libdeflate, zstd frames of 4 MiB. Refuses to know what is compressed. The
//! same input gives the same bytes on any number of cores; memory is bounded by the blocks under way.

use std::cell::RefCell;
use std::io::{self, Read, Write};

use libdeflater::{CompressionLvl, Compressor};
use oci::{Digest, Hasher};

use crate::LayerError;
use crate::ordered::Ordered;

const GZIP_BLOCK_BYTES: usize = 1 << 20;
const ZSTD_BLOCK_BYTES: usize = 4 << 20;

/// How a layer blob is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// Gzip with libdeflate's level, 0 to 12.
    Gzip(u32),
    /// Zstandard with its level, 1 to 22.
    Zstd(i32),
}

impl Compression {
    /// Gzip's level when nobody asks for one: about a fifth less time than level 6 for one or two in a hundred more
    /// bytes.
    pub const GZIP_LEVEL: u32 = 4;
    /// Zstandard's level when nobody asks for one.
    pub const ZSTD_LEVEL: i32 = 3;

    /// Gzip with the default level.
    pub const fn gzip() -> Compression {
        Compression::Gzip(Compression::GZIP_LEVEL)
    }

    /// Zstandard with the default level.
    pub const fn zstd() -> Compression {
        Compression::Zstd(Compression::ZSTD_LEVEL)
    }

    fn block_bytes(self) -> usize {
        match self {
            Compression::None | Compression::Gzip(_) => GZIP_BLOCK_BYTES,
            Compression::Zstd(_) => ZSTD_BLOCK_BYTES,
        }
    }
}

/// Compresses a stream; returns digest and length of what was written.
pub fn compress(
    compression: Compression,
    src: &mut dyn Read,
    out: &mut dyn Write,
) -> Result<(Digest, u64), LayerError> {
    let mut blocks = BlockWriter::new(compression, out);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match src.read(&mut buffer) {
            Ok(0) => return blocks.finish(),
            Ok(len) => blocks.write_all(&buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
        .map_err(|source| LayerError::Compress { source })?;
    }
}

/// Compresses what is written to it.
pub struct BlockWriter<'a> {
    compression: Compression,
    out: &'a mut dyn Write,
    block: Vec<u8>,
    jobs: Ordered<io::Result<Vec<u8>>>,
    jobs_max: usize,
    hasher: Hasher,
    size_bytes: u64,
    blocks: u64,
}

impl<'a> BlockWriter<'a> {
    /// Starts a stream.
    pub fn new(compression: Compression, out: &'a mut dyn Write) -> BlockWriter<'a> {
        BlockWriter {
            compression,
            out,
            block: Vec::with_capacity(compression.block_bytes()),
            jobs: Ordered::new(),
            jobs_max: (2 * rayon::current_num_threads()).min(32),
            hasher: Hasher::new(),
            size_bytes: 0,
            blocks: 0,
        }
    }

    /// Writes what is left; returns digest and length of all that was written. A stream without a byte still becomes
    /// one gzip member or zstd frame.
    pub fn finish(mut self) -> Result<(Digest, u64), LayerError> {
        let done = (|| {
            if !self.block.is_empty() || self.blocks == 0 {
                self.start_block();
            }
            while self.jobs.len() > 0 {
                self.write_oldest()?;
            }
            self.out.flush()
        })();
        done.map_err(|source| LayerError::Compress { source })?;
        Ok((self.hasher.finish(), self.size_bytes))
    }

    fn start_block(&mut self) {
        let next = Vec::with_capacity(self.compression.block_bytes());
        let block = std::mem::replace(&mut self.block, next);
        let compression = self.compression;
        self.jobs.push(move || compress_block(compression, block));
        self.blocks += 1;
    }

    fn write_oldest(&mut self) -> io::Result<()> {
        let Some(block) = self.jobs.pop() else { return Ok(()) };
        self.emit(&block?)
    }

    fn emit(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.size_bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

impl Write for BlockWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.compression == Compression::None {
            self.blocks = 1;
            self.emit(bytes)?;
            return Ok(bytes.len());
        }
        let room = self.compression.block_bytes() - self.block.len();
        let len = bytes.len().min(room);
        self.block.extend_from_slice(&bytes[..len]);
        if self.block.len() == self.compression.block_bytes() {
            if self.jobs.len() >= self.jobs_max {
                self.write_oldest()?;
            }
            self.start_block();
        }
        Ok(len)
    }

    /// Does nothing: a block's end must not depend on who calls when.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn compress_block(compression: Compression, block: Vec<u8>) -> io::Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(block),
        Compression::Gzip(level) => gzip_member(level, &block),
        Compression::Zstd(level) => zstd::bulk::compress(&block, level),
    }
}

pub(crate) fn gzip_member(level: u32, block: &[u8]) -> io::Result<Vec<u8>> {
    thread_local! {
        /// The last one used: making it costs more than a small block.
        static COMPRESSOR: RefCell<Option<(u32, Compressor)>> = const { RefCell::new(None) };
    }
    COMPRESSOR.with_borrow_mut(|kept| {
        if kept.as_ref().is_none_or(|(of, _)| *of != level) {
            let lvl = i32::try_from(level).ok().and_then(|level| CompressionLvl::new(level).ok());
            let lvl = lvl.ok_or_else(|| io::Error::other("gzip has levels 0 to 12"))?;
            *kept = Some((level, Compressor::new(lvl)));
        }
        let (_, compressor) = kept.as_mut().expect("just made");
        let mut out = vec![0; compressor.gzip_compress_bound(block.len())];
        let len = compressor.gzip_compress(block, &mut out).map_err(io::Error::other)?;
        out.truncate(len);
        Ok(out)
    })
}
