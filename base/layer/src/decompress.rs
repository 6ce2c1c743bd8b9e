//! Decompression by the first bytes of a stream (ADD-10), all in this process (security.md B10, B11).
//!
//! Owns which formats there are. Refuses to limit sizes: whoever reads counts. Every format's several members are read,
//! what comes after the last one is an error, and so is an early end.

use std::io::{self, BufReader, Read};

use crate::LayerError;
use crate::tar_read::{TarReader, is_header};
use crate::tar_write::BLOCK_BYTES;

const HEAD_BYTES: usize = 6;
const BUFFER_BYTES: usize = 128 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Gzip,
    Bzip2,
    Xz,
    Zstd,
    Plain,
}

impl Format {
    fn of(head: &[u8]) -> Format {
        match head {
            [0x1f, 0x8b, ..] => Format::Gzip,
            [b'B', b'Z', b'h', ..] => Format::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Format::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Format::Zstd,
            _ => Format::Plain,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Format::Gzip => "gzip",
            Format::Bzip2 => "bzip2",
            Format::Xz => "xz",
            Format::Zstd => "zstd",
            Format::Plain => "plain",
        }
    }
}

/// Reads a stream that may be compressed with gzip, bzip2, xz or zstd, or not at all. An error of the source, or of
/// its first bytes, comes at the first read.
pub fn decompress<'a>(src: impl Read + Send + 'a) -> Box<dyn Read + Send + 'a> {
    let mut src = src;
    let mut head = Vec::new();
    if let Err(error) = src.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head) {
        return Box::new(Failed(Some(error)));
    }
    let format = Format::of(&head);
    let whole = BufReader::with_capacity(BUFFER_BYTES, io::Cursor::new(head).chain(src));
    match format {
        Format::Plain => Box::new(whole),
        Format::Gzip => named(format, flate2::bufread::MultiGzDecoder::new(whole)),
        Format::Bzip2 => named(format, bzip2::bufread::MultiBzDecoder::new(whole)),
        Format::Xz => named(format, lzma_rust2::XzReader::new(whole, true)),
        Format::Zstd => match zstd::stream::read::Decoder::with_buffer(whole) {
            Ok(decoder) => named(format, decoder),
            Err(error) => Box::new(Failed(Some(error))),
        },
    }
}

fn named<'a>(format: Format, decoder: impl Read + Send + 'a) -> Box<dyn Read + Send + 'a> {
    Box::new(Named { format, decoder })
}

/// A stream that could not be begun.
struct Failed(Option<io::Error>);

impl Read for Failed {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match self.0.take() {
            Some(error) => Err(error),
            None => Err(io::ErrorKind::Other.into()),
        }
    }
}

/// Whether [`decompress`] unpacks a stream that begins so. Six bytes are enough to tell.
pub fn is_compressed(head: &[u8]) -> bool {
    Format::of(head) != Format::Plain
}

/// Says in its errors what was being decompressed.
struct Named<R> {
    format: Format,
    decoder: R,
}

impl<R: Read> Read for Named<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            kind => {
                let what = match kind {
                    io::ErrorKind::UnexpectedEof => "ends early",
                    _ => "is damaged or followed by something else",
                };
                io::Error::new(kind, format!("the {} data {what}: {error}", self.format.name()))
            }
        })
    }
}

/// Whether a file is a tar, compressed or not, with at least one entry (ADD-10, ADD-11): what does not begin with a
/// header that can be read is none. A tar whose first entry is refused is still a tar, so that unpacking can say why;
/// taking it for a plain file would be a guess (security.md B4). Reads no further than the first header.
pub fn is_archive(src: impl Read + Send) -> bool {
    let mut plain: Box<dyn Read + Send + '_> = decompress(src);
    let mut block = [0; BLOCK_BYTES as usize];
    if plain.read_exact(&mut block).is_err() || !is_header(&block) {
        return false;
    }
    match TarReader::new(BufReader::new(block.chain(plain))).next_entry() {
        Ok(entry) => entry.is_some(),
        Err(error) => matches!(error, LayerError::BadHeader { .. }),
    }
}

/// [`is_archive`] for the first bytes of a file. Bzip2 gives nothing before a whole block of up to 900 kB is there.
pub fn detect_archive(head: &[u8]) -> bool {
    is_archive(head)
}
