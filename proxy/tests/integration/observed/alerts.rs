//! The alert rules against their cases, by Prometheus' own tool: each fires where it should and is silent where it
//! should be. And against the cases themselves: a rule that never fires, or always, is found out by them. That rules
//! name what exists and say what to do is in `tidy::alerts`.

use std::path::{Path, PathBuf};
use std::process::Command;

use loadtest::laboratory::{Laboratory, require};
use serde_json::{Value, json};

fn read(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards").join(name);
    serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Every alert, with the expression that decides it.
fn alerts() -> Vec<Value> {
    let file = read("alerts.yml");
    let groups = file["groups"].as_array().unwrap().iter();
    groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn name(alert: &Value) -> &str {
    alert["alert"].as_str().unwrap()
}

/// The tests whose name begins with the alert's.
fn cases_of<'a>(alert: &str, cases: &'a Value) -> Vec<&'a Value> {
    let all = cases["tests"].as_array().unwrap().iter();
    all.filter(|case| case["name"].as_str().unwrap().split(' ').next() == Some(alert)).collect()
}

/// Whether nothing is expected of a case at any time.
fn is_silent(case: &Value) -> bool {
    case["promql_expr_test"].as_array().unwrap().iter().all(|test| test["exp_samples"].is_null())
}

struct Promtool {
    program: PathBuf,
    work: tempfile::TempDir,
}

impl Promtool {
    /// Whether these cases hold for this one rule. JSON is the YAML that promtool asks for.
    fn holds(&self, rule: &Value, cases: &[&Value]) -> Result<(), String> {
        let rules = json!({ "groups": [{ "name": "one", "rules": [rule] }] });
        let tests = json!({ "rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": cases });
        std::fs::write(self.work.path().join("rules.yml"), rules.to_string()).unwrap();
        std::fs::write(self.work.path().join("tests.yml"), tests.to_string()).unwrap();
        let mut promtool = Command::new(&self.program);
        let output = promtool.current_dir(&self.work).args(["test", "rules", "tests.yml"]).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        // A file that cannot be read fails too, and says nothing about the rule.
        assert!(output.status.success() || said.contains("got:"), "{said}");
        if output.status.success() { Ok(()) } else { Err(said) }
    }
}

fn with_expression(rule: &Value, expression: String) -> Value {
    let mut rule = rule.clone();
    rule["expr"] = Value::String(expression);
    rule
}

#[tokio::test]
async fn every_alert_fires_and_is_silent_as_its_cases_say() {
    let lab = Laboratory::open().unwrap();
    let Some(program) = require(lab.debian_program("promtool", "prometheus").await) else { return };
    let promtool = Promtool { program, work: tempfile::tempdir().unwrap() };
    let (alerts, cases) = (alerts(), read("alerts.test.yml"));
    assert!(alerts.len() >= 15, "the rules were not found");
    let mut claimed = 0;
    for alert in &alerts {
        let (name, expression) = (name(alert), alert["expr"].as_str().unwrap());
        let own = cases_of(name, &cases);
        claimed += own.len();
        if let Err(said) = promtool.holds(alert, &own) {
            panic!("{name}: {said}");
        }
        let (silent, firing): (Vec<&Value>, Vec<&Value>) = own.iter().partition(|case| is_silent(case));
        let never = with_expression(alert, format!("({expression}) unless on () vector(1)"));
        assert!(promtool.holds(&never, &firing).is_err(), "{name} has no case in which it must fire");
        let always = with_expression(alert, format!("({expression}) or vector(1)"));
        assert!(promtool.holds(&always, &silent).is_err(), "{name} has no case in which it must be silent");
    }
    assert_eq!(claimed, cases["tests"].as_array().unwrap().len(), "a case that is no alert's");
}
