//! Signed statements: C2SP signed notes with Ed25519, and the body of a checkpoint (c2sp.org/tlog-checkpoint). Pure.
//! Written by `writer` and `keygen`, read by `verify`; where keys are kept is `keys`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::SigningKey;
use rand::TryRngCore as _;
use secrecy::zeroize::Zeroizing;
use signed_note::{Note, Signer as _, StandardSigner, StandardVerifier, Verifier as _, VerifierList};

/// First line of a statement that one key takes over from another.
const ROTATION: &str = "countersign key rotation";
/// Bytes of a key's name. It stands in every signature.
const MAX_NAME: usize = 128;
/// Bytes of a note: more than the longest id of a chain and two signatures of such names come to. `verify` keeps many.
const MAX_NOTE: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not what `keygen` writes: `PRIVATE+KEY+<name>+<id>+<key>`, or without `PRIVATE+KEY+` for the public half.
    #[error("not an Ed25519 key in the form of C2SP signed notes: {0}")]
    Key(String),
    #[error("key name `{0}` is empty, has a space or a plus sign, or more than {MAX_NAME} bytes")]
    Name(String),
    #[error("not a signed note, or not of a kind that is known")]
    Malformed,
    #[error("signature of key `{0}` is wrong")]
    Forged(String),
    #[error("no signature by a key that is known")]
    Unknown,
    #[error("no randomness: {0}")]
    Random(String),
}

/// The public half of a key.
#[derive(Clone)]
pub struct Verifier {
    text: String,
    key: StandardVerifier,
}

impl Verifier {
    /// `<name>+<id>+<key>`; surrounding white space is ignored.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let text = text.trim();
        let key = StandardVerifier::new(text).map_err(|e| NoteError::Key(e.to_string()))?;
        is_short(key.name())?;
        Ok(Self { text: text.to_owned(), key })
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Verifier({})", self.text)
    }
}

impl PartialEq for Verifier {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// A private key. Its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct Signer {
    key: StandardSigner,
    public: Verifier,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.public.text)
    }
}

impl Signer {
    /// `PRIVATE+KEY+<name>+<id>+<key>`; surrounding white space is ignored.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let wrong = |e: &dyn std::fmt::Display| NoteError::Key(e.to_string());
        let text = text.trim();
        let key = StandardSigner::new(text).map_err(|e| wrong(&e))?;
        // The key itself is base64 and may have plus signs, too.
        let encoded = text.splitn(5, '+').nth(4).unwrap_or_default();
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(encoded).map_err(|e| wrong(&e))?);
        let secret = SigningKey::try_from(bytes.get(1..).unwrap_or_default()).map_err(|e| wrong(&e))?;
        let public = signed_note::new_ed25519_verifier_key(key.name(), &secret.verifying_key());
        Ok(Self { key, public: Verifier::parse(&public)? })
    }

    pub fn public(&self) -> &Verifier {
        &self.public
    }
}

/// A new key in the text form that [`Signer::parse`] reads. `name` tells readers whose it is.
pub fn generate(name: &str) -> Result<Zeroizing<String>, NoteError> {
    if !signed_note::is_key_name_valid(name) {
        return Err(NoteError::Name(name.to_owned()));
    }
    is_short(name)?;
    let mut seed = Zeroizing::new([0; 32]);
    rand::rngs::OsRng.try_fill_bytes(seed.as_mut()).map_err(|e| NoteError::Random(e.to_string()))?;
    let secret = SigningKey::from_bytes(&seed);
    // The algorithm's number comes before the key in both halves.
    let public = [&[1][..], secret.verifying_key().as_bytes()].concat();
    let private = Zeroizing::new([&[1][..], &seed[..]].concat());
    let (id, encoded) = (signed_note::key_id(name, &public), Zeroizing::new(BASE64_STANDARD.encode(&*private)));
    Ok(Zeroizing::new(format!("PRIVATE+KEY+{name}+{id:08x}+{}", *encoded)))
}

fn is_short(name: &str) -> Result<(), NoteError> {
    if name.len() > MAX_NAME { Err(NoteError::Name(name.to_owned())) } else { Ok(()) }
}

/// A note, of a length that one can have.
fn note(text: &str) -> Result<Note, NoteError> {
    if text.len() > MAX_NOTE {
        return Err(NoteError::Malformed);
    }
    Note::from_bytes(text.as_bytes()).map_err(|_| NoteError::Malformed)
}

/// Signs `body`, which ends with a newline, with each key.
pub fn sign(body: &str, signers: &[&Signer]) -> Result<String, NoteError> {
    let mut note = Note::new(body.as_bytes(), &[]).map_err(|_| NoteError::Malformed)?;
    let keys: Vec<&dyn signed_note::Signer> = signers.iter().map(|s| &s.key as &dyn signed_note::Signer).collect();
    note.add_sigs(&keys).map_err(|_| NoteError::Malformed)?;
    String::from_utf8(note.to_bytes()).map_err(|_| NoteError::Malformed)
}

/// The body, and which of `known` have signed it: at least one, and no signature of theirs is wrong.
pub fn open(text: &str, known: &[Verifier]) -> Result<(String, Vec<Verifier>), NoteError> {
    let note = note(text)?;
    let mut distinct: Vec<&Verifier> = Vec::new();
    for verifier in known {
        if !distinct.contains(&verifier) {
            distinct.push(verifier);
        }
    }
    let list =
        VerifierList::new(distinct.iter().map(|v| Box::new(v.key.clone()) as Box<dyn signed_note::Verifier>).collect());
    let (good, _) = note.verify(&list).map_err(|error| match error {
        signed_note::NoteError::UnverifiedNote => NoteError::Unknown,
        signed_note::NoteError::InvalidSignature { name, .. } => NoteError::Forged(name),
        _ => NoteError::Malformed,
    })?;
    let by = |v: &Verifier| good.iter().any(|s| s.name() == v.key.name() && s.id() == v.key.key_id());
    let signed = distinct.into_iter().filter(|v| by(v)).cloned().collect();
    Ok((body(text)?, signed))
}

/// The body without a look at the signatures.
pub fn body(text: &str) -> Result<String, NoteError> {
    let note = note(text)?;
    String::from_utf8(note.text().to_vec()).map_err(|_| NoteError::Malformed)
}

/// What a checkpoint states: the tree over the first `size` records of the chain `origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: [u8; 32],
}

impl Checkpoint {
    pub fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64_STANDARD.encode(self.root))
    }

    /// Exactly three lines; a number has no sign and no leading zero.
    pub fn parse(body: &str) -> Option<Self> {
        let mut lines = body.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        if lines.next().is_some() || origin.is_empty() {
            return None;
        }
        let number: u64 = size.parse().ok().filter(|n: &u64| n.to_string() == size)?;
        let root = BASE64_STANDARD.decode(root).ok()?.try_into().ok()?;
        Some(Self { origin: origin.to_owned(), size: number, root })
    }
}

/// The statement that `new` takes over from `old`, to be signed by both.
pub fn rotation(old: &Verifier, new: &Verifier) -> String {
    format!("{ROTATION}\n{}\n{}\n", old.text, new.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Signer {
        Signer::parse(&generate(name).unwrap()).unwrap()
    }

    /// The keys and the note of Go's `golang.org/x/mod/sumdb/note`.
    #[test]
    fn notes_of_others_are_read() {
        let vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let skey = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
        let text = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n";
        let signed = format!(
            "{text}\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
        );
        let signer = Signer::parse(skey).unwrap();
        assert_eq!(signer.public().text(), vkey);
        assert_eq!(sign(text, &[&signer]).unwrap(), signed);
        let (body, by) = open(&signed, &[Verifier::parse(vkey).unwrap()]).unwrap();
        assert_eq!((body.as_str(), by), (text, vec![signer.public().clone()]));
    }

    /// A plus sign in the key's base64 was taken for the end of its id.
    #[test]
    fn every_key_that_is_made_can_be_read() {
        for _ in 0..200 {
            key("i");
        }
    }

    #[test]
    fn a_changed_note_is_forged_and_a_stranger_unknown() {
        let (ours, theirs) = (key("i"), key("i"));
        let point = Checkpoint { origin: "i/9c".into(), size: 7, root: [3; 32] };
        let text = sign(&point.body(), &[&ours]).unwrap();
        let (body, _) = open(&text, &[ours.public().clone(), ours.public().clone()]).unwrap();
        assert_eq!(Checkpoint::parse(&body), Some(point));
        let changed = text.replace("\n7\n", "\n8\n");
        assert_eq!(open(&changed, &[ours.public().clone()]).unwrap_err(), NoteError::Forged("i".into()));
        assert_eq!(open(&text, &[theirs.public().clone()]).unwrap_err(), NoteError::Unknown);
        assert_eq!(open("x", &[ours.public().clone()]).unwrap_err(), NoteError::Malformed);
    }

    #[test]
    fn both_keys_sign_a_rotation() {
        let (old, new) = (key("i"), key("i"));
        let text = sign(&rotation(old.public(), new.public()), &[&old, &new]).unwrap();
        let (_, by) = open(&text, &[old.public().clone(), new.public().clone()]).unwrap();
        assert_eq!(by.len(), 2);
    }

    /// As many as `verify` keeps used to be bounded, and not what each takes.
    #[test]
    fn the_longest_note_is_read_and_a_longer_one_is_none() {
        let (old, new) = (key(&"o".repeat(MAX_NAME)), key(&"n".repeat(MAX_NAME)));
        let both = [old.public().clone(), new.public().clone()];
        let point = Checkpoint { origin: "c".repeat(256), size: u64::MAX, root: [3; 32] }.body();
        for body in [point, rotation(old.public(), new.public())] {
            let text = sign(&body, &[&old, &new]).unwrap();
            assert_eq!(open(&text, &both).unwrap().1.len(), 2, "{} bytes", text.len());
        }
        let body = format!("{}\n", "b".repeat(MAX_NOTE));
        let text = sign(&body, &[&old]).unwrap();
        assert_eq!(open(&text, &both).unwrap_err(), NoteError::Malformed);
        assert_eq!(super::body(&text).unwrap_err(), NoteError::Malformed);
    }

    #[test]
    fn bodies_are_read_strictly() {
        let good = Checkpoint { origin: "i/9c".into(), size: 10, root: [9; 32] }.body();
        assert!(Checkpoint::parse(&good).is_some());
        for bad in [
            good.replace("\n10\n", "\n010\n"),
            good.replace("\n10\n", "\n+10\n"),
            format!("{good}more\n"),
            good.trim_end().to_owned(),
            good.replace("i/9c", ""),
        ] {
            assert!(Checkpoint::parse(&bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn names_and_keys_are_checked() {
        assert_eq!(generate("a b").unwrap_err(), NoteError::Name("a b".into()));
        assert!(matches!(Signer::parse("PRIVATE+KEY+x"), Err(NoteError::Key(_))));
        let long = "n".repeat(MAX_NAME + 1);
        assert_eq!(generate(&long).unwrap_err(), NoteError::Name(long.clone()));
        let stranger = SigningKey::from_bytes(&[7; 32]).verifying_key();
        let key_of_others = signed_note::new_ed25519_verifier_key(&long, &stranger);
        assert_eq!(Verifier::parse(&key_of_others), Err(NoteError::Name(long)));
        assert!(!format!("{:?}", key("i")).contains("PRIVATE"));
    }
}
