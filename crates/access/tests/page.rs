//! docs/security.md has the table of roles as the code has it.

use turnpike_access::roles::methods::{Allows, METHODS};

#[test]
fn the_page_has_the_table_of_roles_as_the_code_has_it() {
    let page = include_str!("../../../docs/security.md");
    let table = page.split("| method | who |\n|---|---|\n").nth(1).unwrap();
    let rows: Vec<&str> = table.lines().take_while(|line| line.starts_with('|')).collect();
    let expected: Vec<String> = METHODS
        .iter()
        .map(|rule| {
            let who = match rule.allows {
                Allows::Everyone => "everyone".to_owned(),
                Allows::Authenticated => "everyone who is authenticated".to_owned(),
                Allows::Members => "nodes and fronts".to_owned(),
                Allows::Roles(roles) => {
                    let words: Vec<&str> = roles.iter().map(|role| role.word()).collect();
                    words.join(", ")
                }
            };
            format!("| `{}` | {who} |", rule.path.trim_start_matches('/'))
        })
        .collect();
    assert_eq!(rows, expected);
}
