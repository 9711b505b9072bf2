//! Checks that a mutant only leaves out a check: the program must hold no code that exists for a
//! mutant. Such a fault is a patch in `chaos-tests/patches`.

use std::fs;

use syn::visit::{self, Visit};

use crate::names::sources;
use crate::workspace::root;

/// The calls of `turnpike_mutants::off` in a file.
#[derive(Default)]
struct Calls {
    /// The number of calls in the form `!off(...)`, or as an operand of `||`.
    allowed: usize,
    /// The checks that are named by calls of another form.
    others: Vec<String>,
}

/// The check that a call of `off` names. `None` for other expressions.
fn check_of(expression: &syn::Expr) -> Option<String> {
    let syn::Expr::Call(call) = expression else { return None };
    let syn::Expr::Path(called) = &*call.func else { return None };
    let Some(syn::Expr::Path(check)) = call.args.first() else { return None };
    let names: Vec<String> =
        check.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    let is_off = called.path.segments.last().is_some_and(|segment| segment.ident == "off");
    let names_check = names.iter().rev().nth(1).is_some_and(|name| name == "Check");
    (is_off && names_check).then(|| names.last().cloned()).flatten()
}

impl<'ast> Visit<'ast> for Calls {
    fn visit_expr(&mut self, expression: &'ast syn::Expr) {
        let operands: Vec<&syn::Expr> = match expression {
            syn::Expr::Unary(syn::ExprUnary { op: syn::UnOp::Not(_), expr, .. }) => vec![expr],
            syn::Expr::Binary(binary) if matches!(binary.op, syn::BinOp::Or(_)) => {
                vec![&binary.left, &binary.right]
            }
            other => {
                self.others.extend(check_of(other));
                visit::visit_expr(self, other);
                return;
            }
        };
        for operand in operands {
            match check_of(operand) {
                Some(_) => self.allowed += 1,
                None => self.visit_expr(operand),
            }
        }
    }
}

fn calls(text: &str) -> Calls {
    let mut calls = Calls::default();
    calls.visit_file(&syn::parse_file(text).unwrap());
    calls
}

#[test]
fn a_check_that_is_off_is_left_out_and_runs_no_code_of_its_own() {
    let (mut files, mut allowed, mut faults) = (Vec::new(), 0, Vec::new());
    for package in fs::read_dir(root().join("crates")).unwrap() {
        let src = package.unwrap().path().join("src");
        if src.is_dir() {
            sources(&src, &mut files);
        }
    }
    for file in files {
        let found = calls(&fs::read_to_string(&file).unwrap());
        allowed += found.allowed;
        for check in found.others {
            let at = file.strip_prefix(root()).unwrap().display();
            faults.push(format!(
                "{at}: off(Check::{check}) must be negated, or an operand of ||, so that the mutant \
                 leaves a check out; a mutant that needs code is a patch in chaos-tests/patches"
            ));
        }
    }
    assert!(allowed > 50, "{allowed} calls");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_condition_or_a_step_can_be_left_out() {
    let text = "fn f() -> bool {
        if late && !off(Check::A) { return true; }
        let row = row.filter(|_| !off(mutants::Check::B));
        if !off(Check::C) { log(); }
        match off(Check::D) || held() { true => a == b || off(Check::E) || off(Check::F), _ => c }
    }";
    let found = calls(text);
    assert_eq!((found.allowed, found.others), (6, Vec::new()));
}

#[test]
fn code_that_only_a_mutant_runs_is_found() {
    let text = "fn f() -> u32 {
        if off(Check::A) && old { return 1; }
        let beats = if off(Check::B) { 1 } else { 2 };
        let row = match off(Check::C) { true => None, false => lock() };
        match sight { Alive if off(Check::D) => 3, _ => 4 }
        a || (off(Check::E) && b)
    }";
    let found = calls(text);
    assert_eq!((found.allowed, found.others.join(" ").as_str()), (0, "A B C D E"));
}
