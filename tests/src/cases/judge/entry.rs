//! What is at a path, against what a case wants there.

use super::super::fact::{Content, Entry, EntryKind};
use super::super::image::sha256;
use super::super::stage::Placeholders;
use super::super::tree::{Node, NodeKind, shown};
use super::super::words;

/// Compares kind, mode, owner and content, as far as they are named.
pub(super) fn judge(want: &Entry, node: &Node, placeholders: &Placeholders) -> Result<(), String> {
    kind(&want.kind, node, placeholders)?;
    if let Some(mode) = want.mode.filter(|mode| *mode != node.mode) {
        return Err(format!("wanted mode {mode:04o}, got {:04o}", node.mode));
    }
    let owner = (node.uid, node.gid);
    if let Some((user, group)) = want.owner.filter(|want| *want != owner) {
        return Err(format!("wanted owner {user}:{group}, got {}:{}", owner.0, owner.1));
    }
    let NodeKind::File(content) = &node.kind else { return Ok(()) };
    if let Some(size) = want.size.filter(|size| *size != content.len()) {
        return Err(format!("wanted {size} bytes, got {}", content.len()));
    }
    match &want.content {
        Some(Content::Sha256(hex)) => {
            let got = sha256(content);
            if got["sha256:".len()..] == *hex { Ok(()) } else { Err(format!("got {got}")) }
        }
        Some(Content::Text(text)) if !is_text(text, content, placeholders) => {
            Err(format!("got {}", excerpt(content, placeholders)))
        }
        _ => Ok(()),
    }
}

fn kind(want: &EntryKind, node: &Node, placeholders: &Placeholders) -> Result<(), String> {
    let fits = match (want, &node.kind) {
        (EntryKind::File, NodeKind::File(_)) => true,
        (EntryKind::Directory, NodeKind::Directory) => true,
        (EntryKind::Fifo, NodeKind::Fifo) => true,
        (EntryKind::Char(a, b), NodeKind::Char(c, d)) => (a, b) == (c, d),
        (EntryKind::Block(a, b), NodeKind::Block(c, d)) => (a, b) == (c, d),
        (EntryKind::Link(want), NodeKind::Link(got)) => is_text(want, got, placeholders),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    Err(match &node.kind {
        NodeKind::Link(target) => format!("got a link to {}", shown(target)),
        NodeKind::Char(a, b) | NodeKind::Block(a, b) => format!("got {} {a}:{b}", node.kind_name()),
        _ => format!("got a {}", node.kind_name()),
    })
}

/// Bytes that a case writes as text: in UTF-8, or one byte for each character.
fn is_text(want: &str, got: &[u8], placeholders: &Placeholders) -> bool {
    let as_text = std::str::from_utf8(got).is_ok_and(|got| placeholders.inward(got) == want);
    as_text || words::bytes(want) == got
}

/// The content as a case would write it, not too long.
fn excerpt(content: &[u8], placeholders: &Placeholders) -> String {
    const SHOWN_MAX: usize = 600;
    let text = match std::str::from_utf8(content) {
        Ok(text) => placeholders.inward(text),
        Err(_) => content.iter().map(|byte| char::from(*byte)).collect(),
    };
    if text.chars().count() > SHOWN_MAX {
        return format!("{} bytes, {}", content.len(), sha256(content));
    }
    serde_json::Value::from(text).to_string()
}
