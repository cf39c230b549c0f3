//! The configuration for the curve of authorizers: a route by bucket for each number of them. `scale` starts Countersigns with
//! it; it starts nothing itself.

pub(super) fn bucket(count: usize) -> String {
    format!("asks-{count}")
}

/// As many authorizers as the longest route has, and a route by bucket for each number of them. The first is there.
pub(super) fn routes(url: &str, counts: &[usize]) -> String {
    let most = counts.iter().copied().max().unwrap_or(1);
    let name = |number: usize| if number == 0 { "constant".to_owned() } else { format!("constant-{number}") };
    let authorizers: String =
        (1..most).map(|number| format!("[[authorizer]]\nname = \"{}\"\nurl = \"{url}\"\n", name(number))).collect();
    let routes = counts.iter().map(|count| {
        let ask: Vec<_> = (0..*count).map(|number| format!("\"{}\"", name(number))).collect();
        format!(
            "[[route]]\nname = \"{count}\"\nmatch = {{ bucket = [\"{}\"] }}\nask = [{}]\ncombine = \"all\"\n",
            bucket(*count),
            ask.join(", ")
        )
    });
    let rest = "[[route]]\nname = \"rest\"\nask = [\"constant\"]\n";
    format!("[cache]\nallow_ttl = \"0s\"\ndeny_ttl = \"0s\"\n{authorizers}{}{rest}", routes.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_ask_as_many_as_they_say() {
        let text = routes("http://h/", &[1, 2, 4, 8]);
        assert_eq!(text.matches("[[authorizer]]").count(), 7);
        assert!(text.contains("bucket = [\"asks-2\"] }\nask = [\"constant\", \"constant-1\"]\n"), "{text}");
    }
}
