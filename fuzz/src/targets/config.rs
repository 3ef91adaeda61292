//! A configuration of any text: what it allows, or mistakes that each have a place; never a panic.

use perigee_gateway::config::Config;

/// Sees whether this holds.
///
/// # Panics
///
/// When it does not.
pub fn run(bytes: &[u8]) {
    let text = &*String::from_utf8_lossy(bytes);
    match Config::parse("fuzz.toml", text) {
        Ok(config) => assert!(!config.summary().is_empty()),
        Err(errors) => {
            assert!(!errors.0.is_empty(), "refused without a reason");
            for problem in &errors.0 {
                let said = problem.to_string();
                let rest = said
                    .strip_prefix("fuzz.toml:")
                    .unwrap_or_else(|| panic!("no file: {said}"));
                let line = rest.split(':').next().and_then(|line| line.parse().ok());
                let lines = text.matches('\n').count() + 1;
                assert!(
                    line.is_some_and(|line: usize| line >= 1 && line <= lines),
                    "of {lines} lines: {said}"
                );
            }
        }
    }
}
