//! The key that signs checkpoints: the configured one, or one made in the spool at first start; and what to say when it
//! is another than before. Reads and writes through `Files`. Called by `writer` when it opens the spool; key files are read
//! by `config` and made by `keygen`.

use std::io;

use secrecy::zeroize::Zeroizing;

use crate::audit::files::{Files, unless_gone};
use crate::audit::note::{self, NoteError, Signer, Verifier};

/// Made in the spool where no key is configured; its public half, and that of whatever key signs now.
pub const PRIVATE: &str = "signing.key";
pub const PUBLIC: &str = "signing.pub";
/// A key file with its endorsement is below 1 KiB; more is no key file (bytes).
const MOST: u64 = 16 << 10;

/// A private key and, if it replaces another one, that one's word for it.
#[derive(Debug, Clone)]
pub struct SigningKey {
    pub signer: Signer,
    /// A rotation note that the key before has signed, too. Written by `keygen --replaces`.
    endorsement: Option<String>,
}

impl SigningKey {
    /// The private key in the first line; an endorsement may follow after an empty one.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
        let signer = Signer::parse(first)?;
        let rest = rest.trim_matches(['\n', '\r']);
        let endorsement = (!rest.is_empty()).then(|| format!("{rest}\n"));
        if let Some(endorsement) = &endorsement {
            note::open(endorsement, std::slice::from_ref(signer.public()))?;
        }
        Ok(Self { signer, endorsement })
    }

    /// The text of a key file for `private`, endorsed by `old`.
    pub fn endorsed(private: &str, old: &Signer) -> Result<Zeroizing<String>, NoteError> {
        let new = Signer::parse(private)?;
        let note = note::sign(&note::rotation(old.public(), new.public()), &[old, &new])?;
        Ok(Zeroizing::new(format!("{private}\n\n{note}")))
    }

    /// The statement that this key takes over from `old`: signed by both if the old one can be had, which is `spools` or
    /// has endorsed this one. Otherwise the new key's word alone.
    fn takes_over(&self, old: &Verifier, spools: Option<&Signer>) -> Result<String, NoteError> {
        let body = note::rotation(old, self.signer.public());
        if let Some(endorsement) = &self.endorsement
            && note::body(endorsement)? == body
            && note::open(endorsement, &[old.clone(), self.signer.public().clone()])?.1.len() == 2
        {
            return Ok(endorsement.clone());
        }
        match spools.filter(|signer| signer.public() == old) {
            Some(signer) => note::sign(&body, &[signer, &self.signer]),
            None => {
                tracing::warn!(
                    old = old.text(),
                    new = self.signer.public().text(),
                    "signing key was replaced and the old one has not endorsed the new; see `keygen --replaces`"
                );
                note::sign(&body, &[&self.signer])
            }
        }
    }
}

/// That another key signs from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    pub old: String,
    pub new: String,
    pub note: String,
}

/// The key to sign with, made if there is none, and what is to be said about it. [`PUBLIC`] names the new key only after
/// [`remember`], which is for when the rotation is in the chain.
pub fn load(
    files: &dyn Files,
    configured: Option<&SigningKey>,
    name: &str,
) -> Result<(SigningKey, Option<Rotation>), String> {
    let kept = read(files, PRIVATE)?.map(|text| SigningKey::parse(&text)).transpose();
    let kept = kept.map_err(|e| format!("`{PRIVATE}` in the spool: {e}"))?;
    let before = read(files, PUBLIC)?.map(|text| Verifier::parse(&text)).transpose();
    let before = before.map_err(|e| format!("`{PUBLIC}` in the spool: {e}"))?;
    let key = match (configured, &kept) {
        (Some(configured), _) => configured.clone(),
        (None, Some(kept)) => kept.clone(),
        (None, None) => make(files, name)?,
    };
    let Some(old) = before else {
        remember(files, key.signer.public())?;
        return Ok((key, None));
    };
    if old == *key.signer.public() {
        return Ok((key, None));
    }
    let spools = kept.as_ref().map(|k| &k.signer);
    let note = key.takes_over(&old, spools).map_err(|e| format!("cannot state the rotation of the key: {e}"))?;
    let (old, new) = (old.text().to_owned(), key.signer.public().text().to_owned());
    Ok((key, Some(Rotation { old, new, note })))
}

/// States in the spool which key signs from now on.
pub fn remember(files: &dyn Files, public: &Verifier) -> Result<(), String> {
    replace(files, PUBLIC, &format!("{}\n", public.text())).map_err(|e| format!("cannot write `{PUBLIC}`: {e}"))
}

fn make(files: &dyn Files, name: &str) -> Result<SigningKey, String> {
    let wrong = |e: &dyn std::fmt::Display| format!("cannot make a signing key in the spool: {e}");
    let text = note::generate(&key_name(name)).map_err(|e| wrong(&e))?;
    replace(files, PRIVATE, &Zeroizing::new(format!("{}\n", *text))).map_err(|e| wrong(&e))?;
    tracing::info!("made a signing key in the spool; keep its public half `{PUBLIC}` where auditors find it");
    SigningKey::parse(&text).map_err(|e| wrong(&e))
}

/// What of an instance's name may be the name of a key.
pub fn key_name(instance: &str) -> String {
    let name: String = instance.chars().map(|c| if c.is_whitespace() || c == '+' { '-' } else { c }).collect();
    if name.is_empty() { "countersign".to_owned() } else { name }
}

fn read(files: &dyn Files, path: &str) -> Result<Option<Zeroizing<String>>, String> {
    let wrong = |e: io::Error| format!("cannot read `{path}`: {e}");
    let file = match files.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error)),
    };
    let size = file.size().map_err(wrong)?;
    if size > MOST {
        return Err(format!("`{path}` has {size} bytes, which is no key"));
    }
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(size).unwrap_or(0)]);
    let got = file.read_at(&mut bytes, 0).map_err(wrong)?;
    let text =
        std::str::from_utf8(bytes.get(..got).unwrap_or_default()).map_err(|_| format!("`{path}` is not text"))?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

/// Whole or not at all, whenever the process ends.
fn replace(files: &dyn Files, path: &str, text: &str) -> io::Result<()> {
    let fresh = format!("{path}.new");
    unless_gone(files.remove_file(&fresh))?;
    let file = files.create(&fresh)?;
    file.write_at(text.as_bytes(), 0)?;
    file.sync_data()?;
    files.rename(&fresh, path)?;
    files.sync_dir("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::disk::Disk;

    fn spool() -> (tempfile::TempDir, Disk) {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::new(directory.path());
        (directory, disk)
    }

    fn key(name: &str) -> SigningKey {
        SigningKey::parse(&note::generate(name).unwrap()).unwrap()
    }

    #[test]
    fn a_key_is_made_once_and_only_for_its_owner() {
        use std::os::unix::fs::PermissionsExt as _;
        let (directory, disk) = spool();
        let (made, rotation) = load(&disk, None, "minio eu+1").unwrap();
        assert_eq!(rotation, None);
        let mode = std::fs::metadata(directory.path().join(PRIVATE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let public = std::fs::read_to_string(directory.path().join(PUBLIC)).unwrap();
        assert!(public.starts_with("minio-eu-1+"), "{public}");
        let (again, rotation) = load(&disk, None, "minio eu+1").unwrap();
        assert_eq!((again.signer.public(), rotation), (made.signer.public(), None));
    }

    #[test]
    fn a_damaged_key_is_never_replaced_silently() {
        let (directory, disk) = spool();
        load(&disk, None, "i").unwrap();
        std::fs::write(directory.path().join(PRIVATE), "PRIVATE+KEY+half").unwrap();
        assert!(load(&disk, None, "i").unwrap_err().contains("`signing.key` in the spool"));
    }

    #[test]
    fn the_spools_own_key_endorses_a_configured_one() {
        let (_directory, disk) = spool();
        let (old, _) = load(&disk, None, "i").unwrap();
        let new = key("i");
        let (_, rotation) = load(&disk, Some(&new), "i").unwrap();
        let rotation = rotation.unwrap();
        let both = [old.signer.public().clone(), new.signer.public().clone()];
        assert_eq!(note::open(&rotation.note, &both).unwrap().1.len(), 2);
        // Until it is remembered it is said again: a crash may have taken the record.
        assert_eq!(load(&disk, Some(&new), "i").unwrap().1.as_ref(), Some(&rotation));
        remember(&disk, new.signer.public()).unwrap();
        assert_eq!(load(&disk, Some(&new), "i").unwrap().1, None);
    }

    #[test]
    fn a_configured_key_is_endorsed_by_its_file() {
        let (_directory, disk) = spool();
        let old = key("i");
        load(&disk, Some(&old), "i").unwrap();
        let text = SigningKey::endorsed(&note::generate("i").unwrap(), &old.signer).unwrap();
        let new = SigningKey::parse(&text).unwrap();
        let both = [old.signer.public().clone(), new.signer.public().clone()];
        let (_, rotation) = load(&disk, Some(&new), "i").unwrap();
        assert_eq!(note::open(&rotation.unwrap().note, &both).unwrap().1.len(), 2);
        // Another key without a word of the old one speaks for itself alone.
        let (_, rotation) = load(&disk, Some(&key("i")), "i").unwrap();
        assert_eq!(note::open(&rotation.unwrap().note, &both).unwrap_err(), NoteError::Unknown);
    }

    #[test]
    fn an_endorsement_of_another_key_is_no_key_file() {
        let (old, new) = (key("i"), note::generate("i").unwrap());
        let text = SigningKey::endorsed(&new, &old.signer).unwrap();
        let mixed = text.replacen(&**new, &note::generate("i").unwrap(), 1);
        assert!(SigningKey::parse(&mixed).is_err());
    }
}
