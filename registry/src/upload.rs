//! One blob on its way out: in one request, in pieces, and on from where a cut one has come to.
//!
//! Owns the talk about one upload. Refuses to know whether the blob is wanted at all, and when to try again.

use std::io::Read as _;

use crate::client::get;
use crate::error::Cause;
use crate::push::{Blob, Target};
use crate::transport::{Answer, Call, Content};
use crate::url::Url;

/// Uploads shorter than this are sent anew rather than asked for.
const RESUME_MIN_BYTES: u64 = 1 << 20;
/// Pieces for a registry that does not take a whole blob at once.
const PIECE_BYTES: u64 = 16 << 20;
/// Smaller pieces than this are no use: whoever refuses them refuses everything.
const PIECE_MIN_BYTES: u64 = 256 << 10;
/// No registry may ask for larger pieces than this.
const PIECE_MAX_BYTES: u64 = 1 << 30;

/// An upload and what is known of it.
pub(crate) struct Upload<'a, 'c> {
    to: Target<'a>,
    blob: &'a Blob<'c>,
    /// Where the registry wants the content.
    place: Option<Place>,
    /// Set once the registry has refused the whole blob in one request.
    piece_bytes: Option<u64>,
    /// It has failed at a request that has the content and ends the upload: the two are done one after the other then,
    /// as docker does it.
    ends_apart: bool,
    done_bytes: u64,
    counted_bytes: u64,
    was_lost: bool,
}

#[derive(Clone)]
struct Place {
    url: Url,
    /// `OCI-Chunk-Min-Length`, in bytes.
    piece_min_bytes: u64,
}

impl<'a, 'c> Upload<'a, 'c> {
    pub(crate) fn new(to: Target<'a>, blob: &'a Blob<'c>) -> Upload<'a, 'c> {
        Upload {
            to,
            blob,
            place: None,
            piece_bytes: None,
            ends_apart: false,
            done_bytes: 0,
            counted_bytes: 0,
            was_lost: false,
        }
    }

    /// Whether more has arrived since this was asked last: a try that got further is no failed one.
    pub(crate) fn has_advanced(&mut self) -> bool {
        let has = self.done_bytes >= self.counted_bytes + RESUME_MIN_BYTES;
        // Never less: who loses and takes the same bytes over and over gets nowhere.
        self.counted_bytes = self.counted_bytes.max(self.done_bytes);
        has
    }

    /// Whether the registry has forgotten the upload, which is then begun anew: once, for whoever forgets all of them.
    pub(crate) fn is_lost(&mut self, cause: &Cause) -> bool {
        let is_lost = !self.was_lost
            && matches!(cause, Cause::Status { status: 404 | 416, .. })
            && self.place.as_ref().is_some_and(|place| self.is_home(&place.url));
        if is_lost {
            (self.was_lost, self.place, self.done_bytes) = (true, None, 0);
        }
        is_lost
    }

    /// The registry has opened an upload.
    pub(crate) fn opened(&mut self, answer: &Answer) -> Result<(), Cause> {
        let url = self.to.client.transport(self.to.session).redirect_target(answer)?;
        let asked = answer.header("oci-chunk-min-length").and_then(|text| text.parse().ok());
        let piece_min_bytes = asked.unwrap_or(0).min(PIECE_MAX_BYTES);
        self.place = Some(Place { url, piece_min_bytes });
        self.done_bytes = 0;
        Ok(())
    }

    /// Goes on with an upload that was cut. False when there is none that could be gone on with.
    pub(crate) fn resume(&mut self) -> Result<bool, Cause> {
        let Some(place) = self.place.take() else { return Ok(false) };
        let may_go_on = self.is_home(&place.url) && self.blob.size_bytes >= RESUME_MIN_BYTES;
        let Some((place, done_bytes)) =
            may_go_on.then(|| self.status(place)).transpose()?.flatten()
        else {
            return Ok(false);
        };
        if done_bytes == 0 {
            return Ok(false);
        }
        self.done_bytes = done_bytes;
        self.place = Some(place);
        match self.send_rest() {
            Ok(()) => Ok(true),
            // The registry has lost its place: from the start, then.
            Err(Cause::Status { status: 404 | 416, .. }) => {
                self.place = None;
                Ok(false)
            }
            Err(cause) => Err(cause),
        }
    }

    /// Sends the content from its start.
    pub(crate) fn send(&mut self) -> Result<(), Cause> {
        let place = self.open()?;
        if self.piece_bytes.is_some() || self.ends_apart {
            return self.send_rest();
        }
        match self.send_whole(&place) {
            Err(cause @ Cause::Status { status: 405 | 411 | 500 | 501, .. }) => {
                // It may only know the way that docker takes: so it goes at the next try, or now if there is none.
                self.ends_apart = self.is_home(&place.url) && self.blob.size_bytes > 0;
                if cause.is_temporary() || !self.ends_apart {
                    return Err(cause);
                }
                self.place = None;
                self.open()?;
                self.send_rest()
            }
            // It is too long for one request.
            Err(Cause::Status { status: 413 | 416, .. }) if self.is_home(&place.url) => {
                self.piece_bytes = Some(PIECE_BYTES);
                self.place = None;
                self.open()?;
                self.send_rest()
            }
            result => result,
        }
    }

    /// The place for the content: the one that a mount has opened, else a new one.
    fn open(&mut self) -> Result<Place, Cause> {
        if let Some(place) = &self.place {
            return Ok(place.clone());
        }
        let url = self.to.session.repository_url(self.to.reference, "blobs/uploads/");
        let answer =
            self.request(&Call { method: "POST", body: Content::Bytes(&[]), ..get(url) })?;
        if answer.status != 202 {
            return Err(answer.into_cause());
        }
        self.opened(&answer)?;
        self.place.clone().ok_or(Cause::Cancelled)
    }

    fn send_whole(&self, place: &Place) -> Result<(), Cause> {
        self.put(&place.url, 0)
    }

    /// Ends the upload with all bytes from one on.
    fn put(&self, url: &Url, from_byte: u64) -> Result<(), Cause> {
        let blob = self.blob;
        let open = || (blob.open)(from_byte);
        let left_bytes = blob.size_bytes - from_byte;
        let call = Call {
            method: "PUT",
            url: url.clone().with_query("digest", &blob.digest.to_string()),
            headers: vec![("content-type", "application/octet-stream".to_owned())],
            authorization: None,
            body: match left_bytes {
                0 if from_byte > 0 => Content::Bytes(&[]),
                size_bytes => Content::Stream { open: &open, size_bytes },
            },
        };
        let answer = self.request(&call)?;
        match answer.status {
            201 | 202 | 204 => Ok(()),
            _ => Err(answer.into_cause()),
        }
    }

    /// Sends what the registry does not have yet, in one piece or in several, and ends the upload.
    fn send_rest(&mut self) -> Result<(), Cause> {
        while self.done_bytes < self.blob.size_bytes {
            let Some(place) = self.place.clone() else { return Err(Cause::Cancelled) };
            let left_bytes = self.blob.size_bytes - self.done_bytes;
            let wanted = self.piece_bytes.unwrap_or(u64::MAX).max(place.piece_min_bytes);
            match self.patch(&place, left_bytes.min(wanted)) {
                Ok(()) => {}
                Err(Cause::Status { status: 413, .. })
                    if wanted > PIECE_MIN_BYTES.max(place.piece_min_bytes) =>
                {
                    self.piece_bytes = Some(wanted.min(PIECE_BYTES * 2) / 2);
                }
                Err(cause) => return Err(cause),
            }
        }
        match &self.place {
            Some(place) => self.put(&place.url, self.blob.size_bytes),
            None => Err(Cause::Cancelled),
        }
    }

    /// Sends one piece.
    fn patch(&mut self, place: &Place, size_bytes: u64) -> Result<(), Cause> {
        let (blob, from_byte) = (self.blob, self.done_bytes);
        let open = || {
            let content = (blob.open)(from_byte)?;
            Ok(Box::new(content.take(size_bytes)) as Box<dyn std::io::Read>)
        };
        let mut headers = vec![("content-type", "application/octet-stream".to_owned())];
        // Whoever gets all of it at once need not know of pieces.
        if size_bytes < blob.size_bytes {
            let last = from_byte + size_bytes - 1;
            headers.push(("content-range", format!("{from_byte}-{last}")));
        }
        let call = Call {
            method: "PATCH",
            url: place.url.clone(),
            headers,
            authorization: None,
            body: Content::Stream { open: &open, size_bytes },
        };
        let answer = self.request(&call)?;
        if !matches!(answer.status, 202 | 204) {
            return Err(answer.into_cause());
        }
        let end = from_byte + size_bytes;
        self.done_bytes = match arrived(&answer) {
            // Some count the bytes where the last one's number is wanted. The digest tells whether all is there.
            Some(arrived) if arrived == end + 1 && end == self.blob.size_bytes => end,
            // Fewer than were sent are sent again; none at all is no progress, nor are a few each time.
            Some(arrived)
                if arrived <= from_byte
                    || arrived > self.blob.size_bytes
                    || (arrived < end && arrived - from_byte < PIECE_MIN_BYTES) =>
            {
                let why = "the registry does not say how much of the piece has arrived";
                return Err(Cause::Malformed(answer.url.redacted(), why.to_owned()));
            }
            Some(arrived) => arrived,
            None => end,
        };
        self.place = Some(self.moved(place, &answer)?);
        Ok(())
    }

    /// How much has arrived, and where the rest is wanted; `None` when the registry does not know the upload any more.
    fn status(&self, place: Place) -> Result<Option<(Place, u64)>, Cause> {
        let answer = self.request(&get(place.url.clone()))?;
        if !matches!(answer.status, 200 | 202 | 204) {
            return Ok(None);
        }
        let Some(arrived) = arrived(&answer).filter(|arrived| *arrived <= self.blob.size_bytes)
        else {
            return Ok(None);
        };
        Ok(Some((self.moved(&place, &answer)?, arrived)))
    }

    /// Each answer may name another place for what follows; it must be on the registry's own origin.
    fn moved(&self, place: &Place, answer: &Answer) -> Result<Place, Cause> {
        let mut place = place.clone();
        if answer.header("location").is_some() {
            place.url = self.to.client.transport(self.to.session).redirect_target(answer)?;
        }
        Ok(place)
    }

    /// Storage elsewhere gets the content and no credential (spec/security.md C1).
    fn request(&self, call: &Call) -> Result<Answer, Cause> {
        let Target { client, session, reference, scopes } = self.to;
        client.request_once(session, reference.repository(), scopes, call)
    }

    fn is_home(&self, url: &Url) -> bool {
        url.origin() == self.to.session.home
    }
}

/// Bytes that an answer says to have arrived. Old registries say `0-0` of nothing.
fn arrived(answer: &Answer) -> Option<u64> {
    let range = answer.header("range")?;
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    let (first, last) = range.split_once('-')?;
    match (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?) {
        (0, 0) => Some(0),
        (0, last) => last.checked_add(1),
        _ => None,
    }
}
