//! Parts of a text that may stay although the rest is hidden: the network of an address, the directories of a key, ids that
//! nobody chose. Called by `privacy` and by the record.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::policy::actor::claimed_groups;
use crate::policy::request::Request;
use crate::policy::signs::address;

/// At most this many directories of a key stay readable, and this many bytes of them; whole ones only.
pub const MAX_DIRECTORIES: usize = 4;
const MAX_BYTES: usize = 256;

/// The network an address is in: the first 24 bits of IPv4, the first 48 of IPv6. An IPv6 address that stands for an IPv4
/// one (`::ffff:…`, and `2002:…`, whose first 48 bits are all of it) is shortened as that one. `None` for what is no
/// address.
pub fn network(text: &str) -> Option<String> {
    match address(text)? {
        IpAddr::V4(v4) => Some(network_v4(v4)),
        IpAddr::V6(v6) => Some(embedded(v6).map_or_else(|| network_v6(v6), network_v4)),
    }
}

fn network_v4(address: Ipv4Addr) -> String {
    let [a, b, c, _] = address.octets();
    format!("{a}.{b}.{c}.0/24")
}

fn network_v6(address: Ipv6Addr) -> String {
    let [a, b, c, ..] = address.segments();
    format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
}

fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [first, high, low, ..] = address.segments();
    let six_to_four = (first == 0x2002).then(|| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    address.to_ipv4_mapped().or(six_to_four)
}

/// The beginning of a key that ends with its last `/`, or with an earlier one where that is too much.
pub fn directories(key: &str) -> &str {
    let ends = key.match_indices('/').map(|(at, _)| at + 1).take(MAX_DIRECTORIES);
    let end = ends.take_while(|end| *end <= MAX_BYTES).last().unwrap_or(0);
    key.get(..end).unwrap_or_default()
}

/// An id or a hash that no person chose: a UUID, or 32, 40 or 64 hex digits.
pub fn is_opaque(text: &str) -> bool {
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.len() {
        36 => text.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && text.split('-').all(is_hex),
        32 | 40 | 64 => is_hex(text),
        _ => false,
    }
}

/// The same, and no name of this question nor part of one: accounts, principals, groups and keys can be UUIDs, too, in
/// whatever letter case. Of claims everything counts, also what is in lists and objects.
pub fn is_opaque_beside(request: &Request, text: &str) -> bool {
    let claims = &request.claims;
    let is_in = |name: &str| holds(name.as_bytes(), text);
    let claimed = || {
        holds(&claims.text, text)
            || claims.strings.iter().any(|(_, value)| is_in(value))
            || claimed_groups(claims).iter().any(|group| is_in(group))
    };
    let in_a_key = || is_in(&request.object) || request.condition("prefix").iter().any(|key| is_in(key));
    let grouped = || request.groups.iter().flatten().any(|group| is_in(group));
    is_opaque(text) && !is_in(&request.account) && !grouped() && !in_a_key() && !claimed()
}

/// Letter case apart. Nothing holds the empty text.
fn holds(name: &[u8], text: &str) -> bool {
    name.windows(text.len().max(1)).any(|part| part.eq_ignore_ascii_case(text.as_bytes()))
}

/// What MinIO calls the ways to sign.
pub fn is_auth_type(text: &str) -> bool {
    matches!(text, "REST-HEADER" | "REST-QUERY-STRING" | "POST")
}

pub fn is_flag(text: &str) -> bool {
    matches!(text, "true" | "false")
}

pub fn never(_: &str) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_networks() {
        for (address, expected) in [
            ("203.0.113.9", "203.0.113.0/24"),
            ("127.0.0.1", "127.0.0.0/24"),
            ("2001:db8:1234:5678::9", "2001:db8:1234::/48"),
            ("[2001:db8:1234:5678::9]", "2001:db8:1234::/48"),
            ("[fe80::1%eth0]", "fe80::/48"),
            ("fe80::1%eth0", "fe80::/48"),
            ("::1", "::/48"),
            ("::ffff:203.0.113.9", "203.0.113.0/24"),
            ("[::ffff:cb00:7109]", "203.0.113.0/24"),
            ("2002:cb00:7109:1::1", "203.0.113.0/24"),
            ("64:ff9b::203.0.113.9", "64:ff9b::/48"),
        ] {
            assert_eq!(network(address).as_deref(), Some(expected), "{address}");
        }
        for none in ["", "notanip", "203.0.113.9:80", "203.0.113", "203.0.113.9 ", "[203.0.113.9", "::ffff:1.2.3.4.5"] {
            assert_eq!(network(none), None, "{none}");
        }
    }

    #[test]
    fn directories_are_whole_and_few() {
        for (key, expected) in [
            ("a.txt", ""),
            ("", ""),
            ("/", "/"),
            ("2026/a.jpg", "2026/"),
            ("2026/11/", "2026/11/"),
            ("//x", "//"),
            ("a/b/c/d/e/f.txt", "a/b/c/d/"),
            ("ä/ö.txt", "ä/"),
        ] {
            assert_eq!(directories(key), expected, "{key}");
        }
        let long = format!("a/{}/b/c", "x".repeat(300));
        assert_eq!(directories(&long), "a/");
    }

    #[test]
    fn opaque_is_what_nobody_would_be_called() {
        for id in [
            "6f0e5d1c-4a3b-4c2d-9e1f-0a1b2c3d4e5f",
            "0123456789abcdef0123456789ABCDEF",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ] {
            assert!(is_opaque(id), "{id}");
        }
        for name in [
            "",
            "null",
            "alice",
            "ada",
            "12345678",
            "-6f0e5d1c4a3b4c2d9e1f0a1b2c3d4e5f---",
            "6f0e5d1c-4a3b-4c2d-9e1f-alice2c3d4e5f",
        ] {
            assert!(!is_opaque(name), "{name}");
        }
        assert!(is_flag("true") && !is_flag("True"));
        assert!(is_auth_type("POST") && !is_auth_type("root") && !never(""));
    }

    #[test]
    fn an_id_that_is_a_name_of_the_question_is_none() {
        const ID: &str = "6f0e5d1c-4a3b-4c2d-9e1f-0a1b2c3d4e5f";
        let beside = |input: serde_json::Value| {
            let mut question = serde_json::json!({ "input": { "account": "a", "action": "s3:GetObject" } });
            question["input"].as_object_mut().unwrap().extend(input.as_object().unwrap().clone());
            let request = crate::wire::question::read(question.to_string().into()).unwrap();
            is_opaque_beside(&request, ID)
        };
        assert!(beside(serde_json::json!({})));
        assert!(beside(serde_json::json!({ "claims": { "groups": ["staff"], "exp": 1 }, "groups": ["staff"] })));
        for named in [
            serde_json::json!({ "account": ID }),
            serde_json::json!({ "object": format!("people/{ID}/cv.pdf") }),
            serde_json::json!({ "conditions": { "prefix": [format!("people/{ID}/")] } }),
            serde_json::json!({ "groups": ["staff", ID] }),
            serde_json::json!({ "groups": [format!("cn={ID},ou=groups")] }),
            serde_json::json!({ "claims": { "sub": ID } }),
            serde_json::json!({ "claims": { "groups": ["staff", ID] } }),
            serde_json::json!({ "claims": { "groups": ID } }),
            serde_json::json!({ "claims": { "ldapAttrib_entryUUID": [ID] } }),
            serde_json::json!({ "claims": { "realm": { "person": ID } } }),
        ] {
            assert!(!beside(named.clone()), "{named}");
        }
    }

    #[test]
    fn an_id_in_capitals_is_the_same_name() {
        const ID: &str = "6f0e5d1c-4a3b-4c2d-9e1f-0a1b2c3d4e5f";
        for (account, id) in [(ID.to_owned(), ID.to_uppercase()), (ID.to_uppercase(), ID.to_owned())] {
            let question = serde_json::json!({ "input": { "account": account, "action": "s3:GetObject" } });
            let request = crate::wire::question::read(question.to_string().into()).unwrap();
            assert!(is_opaque(&id) && !is_opaque_beside(&request, &id), "{account} {id}");
        }
    }
}
