//! Text preprocessor of the shaders: sizes enter as constants before WGSL is compiled.
//!
//! Loops then have constant trip counts and accumulators have names. Directives stand alone on a line:
//!
//! * `#import "shared/philox.wgsl"`: the file's text, once however often it is asked for;
//! * `#if EXPR`, `#else`, `#endif`: 0 is false;
//! * `#for NAME in A..B`, `#end`: the body once for every number from A to B − 1;
//! * `#let NAME = EXPR`: a number, until the end of the file or the next `#let` of this name;
//! * `#{EXPR}` anywhere in a line: the expression's value, or a text define as it is.
//!
//! Expressions are 64-bit integers with `|| && == != < <= > >= + - * / % !`, parentheses, names and `TABLE[index]`.

use std::collections::{BTreeMap, HashSet};

use crate::error::{Error, Result};

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// A number.
    Number(i64),
    /// Numbers, indexed from 0.
    Table(Vec<i64>),
    /// Text that is put in as it is, such as a float literal; not usable in arithmetic.
    Texts(Vec<String>),
}

/// The names that a shader's text may use; part of a pipeline's key.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Defines(BTreeMap<String, Value>);

impl Defines {
    /// Defines a number.
    pub fn number(&mut self, name: &str, value: usize) -> &mut Self {
        self.0.insert(name.into(), Value::Number(value as i64));
        self
    }

    /// Defines a table of numbers.
    pub fn table(&mut self, name: &str, values: impl IntoIterator<Item = i64>) -> &mut Self {
        self.0
            .insert(name.into(), Value::Table(values.into_iter().collect()));
        self
    }

    /// Defines a table of float literals.
    pub fn floats(&mut self, name: &str, values: impl IntoIterator<Item = f64>) -> &mut Self {
        // `{:?}` writes the shortest decimal that reads back as the same number, always with a point or exponent.
        let texts = values.into_iter().map(|x| format!("{:?}f", x as f32)).collect();
        self.0.insert(name.into(), Value::Texts(texts));
        self
    }

    /// Defines a table of words.
    pub fn texts<'t>(&mut self, name: &str, texts: impl IntoIterator<Item = &'t str>) -> &mut Self {
        let texts = texts.into_iter().map(str::to_owned).collect();
        self.0.insert(name.into(), Value::Texts(texts));
        self
    }

    /// Adds all of `other`'s names.
    pub fn extend(&mut self, other: &Defines) -> &mut Self {
        self.0.extend(other.0.iter().map(|(k, v)| (k.clone(), v.clone())));
        self
    }
}

/// Expands the shader `file`; `read` gives the text of a file by its path below `shaders/`.
///
/// # Errors
/// [`Error::Failed`] with file and line: unknown file or name, unfinished block, bad expression, index out of range.
pub fn expand<'a>(
    file: &str,
    read: &dyn Fn(&str) -> Option<std::borrow::Cow<'a, str>>,
    defines: &Defines,
) -> Result<String> {
    let mut expansion = Expansion {
        read,
        names: defines.0.clone(),
        imported: HashSet::new(),
        out: String::new(),
    };
    expansion.file(file, None)?;
    Ok(expansion.out)
}

/// A line and its number from 1.
type Line<'t> = (usize, &'t str);

struct Expansion<'r, 'a> {
    read: &'r dyn Fn(&str) -> Option<std::borrow::Cow<'a, str>>,
    names: BTreeMap<String, Value>,
    imported: HashSet<String>,
    out: String,
}

fn failed(file: &str, line: usize, what: impl std::fmt::Display) -> Error {
    Error::failed(format!("shaders/{file}:{line}: {what}"))
}

/// Index of the line that ends the block opened before `lines`, and of an `#else` of its own on the way.
fn block_end(lines: &[Line], closing: &str) -> Option<(Option<usize>, usize)> {
    let mut open: Vec<&str> = Vec::new();
    let mut middle = None;
    for (at, (_, line)) in lines.iter().enumerate() {
        match line.split_whitespace().next() {
            Some("#if") => open.push("#endif"),
            Some("#for") => open.push("#end"),
            Some("#else") if open.is_empty() => middle = Some(at),
            Some(end @ ("#endif" | "#end")) => match open.pop() {
                Some(expected) if expected == end => {}
                None if closing == end => return Some((middle, at)),
                _ => return None,
            },
            _ => {}
        }
    }
    None
}

impl Expansion<'_, '_> {
    fn file(&mut self, file: &str, from: Option<(&str, usize)>) -> Result<()> {
        if !self.imported.insert(file.into()) {
            return Ok(());
        }
        let Some(text) = (self.read)(file) else {
            let (at, line) = from.unwrap_or((file, 0));
            return Err(failed(at, line, format_args!("there is no shader file `{file}`")));
        };
        let lines: Vec<Line> = text.lines().enumerate().map(|(n, l)| (n + 1, l)).collect();
        self.lines(file, &lines)
    }

    fn lines(&mut self, file: &str, lines: &[Line]) -> Result<()> {
        let mut at = 0;
        while let Some(&(number, line)) = lines.get(at) {
            at += 1;
            let trimmed = line.trim();
            let (directive, rest) = trimmed
                .split_once(char::is_whitespace)
                .map_or((trimmed, ""), |(d, r)| (d, r.trim()));
            match directive {
                "#import" => self.file(rest.trim_matches('"'), Some((file, number)))?,
                "#if" => {
                    let (middle, end) = block_end(&lines[at..], "#endif")
                        .ok_or_else(|| failed(file, number, "`#if` without its `#endif`"))?;
                    let body = &lines[at..at + end];
                    let chosen = if self.number(file, number, rest)? != 0 {
                        &body[..middle.unwrap_or(end)]
                    } else {
                        middle.map_or(&body[..0], |m| &body[m + 1..])
                    };
                    self.lines(file, chosen)?;
                    at += end + 1;
                }
                "#for" => {
                    let (_, end) = block_end(&lines[at..], "#end")
                        .ok_or_else(|| failed(file, number, "`#for` without its `#end`"))?;
                    let parts = rest
                        .split_once(" in ")
                        .and_then(|(name, range)| range.split_once("..").map(|(a, b)| (name.trim(), a, b)));
                    let Some((name, first, last)) = parts else {
                        return Err(failed(file, number, "`#for` wants `NAME in A..B`"));
                    };
                    let (first, last) = (
                        self.number(file, number, first)?,
                        self.number(file, number, last)?,
                    );
                    let hidden = self.names.remove(name);
                    for value in first..last {
                        self.names.insert(name.into(), Value::Number(value));
                        self.lines(file, &lines[at..at + end])?;
                    }
                    self.names.remove(name);
                    if let Some(hidden) = hidden {
                        self.names.insert(name.into(), hidden);
                    }
                    at += end + 1;
                }
                "#let" => {
                    let (name, value) = rest
                        .split_once('=')
                        .ok_or_else(|| failed(file, number, "`#let` wants `NAME = EXPR`"))?;
                    let value = self.number(file, number, value)?;
                    self.names.insert(name.trim().into(), Value::Number(value));
                }
                _ if trimmed.starts_with('#') && !trimmed.starts_with("#{") => {
                    return Err(failed(
                        file,
                        number,
                        format_args!("`{directive}` does not belong here"),
                    ));
                }
                _ => self.text(file, number, line)?,
            }
        }
        Ok(())
    }

    fn text(&mut self, file: &str, number: usize, line: &str) -> Result<()> {
        let mut rest = line;
        while let Some(start) = rest.find("#{") {
            let (before, from) = rest.split_at(start);
            self.out.push_str(before);
            let end = from
                .find('}')
                .ok_or_else(|| failed(file, number, "`#{` without `}`"))?;
            let value = self.substitution(file, number, &from[2..end])?;
            self.out.push_str(&value);
            rest = &from[end + 1..];
        }
        self.out.push_str(rest);
        self.out.push('\n');
        Ok(())
    }

    fn substitution(&self, file: &str, line: usize, expression: &str) -> Result<String> {
        let name = expression.split('[').next().unwrap_or_default().trim();
        if let Some(Value::Texts(texts)) = self.names.get(name) {
            let index = expression[name.len()..].trim();
            let index = index
                .strip_prefix('[')
                .and_then(|i| i.strip_suffix(']'))
                .ok_or_else(|| failed(file, line, format_args!("`{name}` needs an index")))?;
            let at = self.number(file, line, index)?;
            return usize::try_from(at)
                .ok()
                .and_then(|at| texts.get(at))
                .cloned()
                .ok_or_else(|| failed(file, line, format_args!("`{name}[{at}]` is out of range")));
        }
        Ok(self.number(file, line, expression)?.to_string())
    }

    fn number(&self, file: &str, line: usize, expression: &str) -> Result<i64> {
        let mut parser = Parser {
            rest: expression,
            names: &self.names,
        };
        let value = parser.binary(0).and_then(|value| match parser.peek() {
            None => Ok(value),
            Some(c) => Err(format!("unexpected `{c}`")),
        });
        value.map_err(|what| failed(file, line, format_args!("{what} in `{}`", expression.trim())))
    }
}

/// Operators by precedence, loosest first; longer ones before their prefixes.
const OPERATORS: [&[&str]; 5] = [
    &["||"],
    &["&&"],
    &["==", "!=", "<=", ">=", "<", ">"],
    &["+", "-"],
    &["*", "/", "%"],
];

struct Parser<'t> {
    rest: &'t str,
    names: &'t BTreeMap<String, Value>,
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn eat(&mut self, token: &str) -> bool {
        self.peek();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn binary(&mut self, level: usize) -> std::result::Result<i64, String> {
        let Some(operators) = OPERATORS.get(level) else {
            return self.unary();
        };
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = operators.iter().find(|o| self.eat(o)) {
            let right = self.binary(level + 1)?;
            let checked = match *operator {
                "||" => Some(i64::from(left != 0 || right != 0)),
                "&&" => Some(i64::from(left != 0 && right != 0)),
                "==" => Some(i64::from(left == right)),
                "!=" => Some(i64::from(left != right)),
                "<=" => Some(i64::from(left <= right)),
                ">=" => Some(i64::from(left >= right)),
                "<" => Some(i64::from(left < right)),
                ">" => Some(i64::from(left > right)),
                "+" => left.checked_add(right),
                "-" => left.checked_sub(right),
                "*" => left.checked_mul(right),
                "/" => left.checked_div(right),
                _ => left.checked_rem(right),
            };
            left = checked.ok_or("overflow or division by zero")?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> std::result::Result<i64, String> {
        self.peek();
        if self.rest.starts_with('!') && !self.rest.starts_with("!=") {
            self.rest = &self.rest[1..];
            return Ok(i64::from(self.unary()? == 0));
        }
        if self.eat("(") {
            let value = self.binary(0)?;
            return if self.eat(")") {
                Ok(value)
            } else {
                Err("missing `)`".into())
            };
        }
        self.peek();
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return word.parse().map_err(|_| format!("bad number `{word}`"));
        }
        match self.names.get(word) {
            Some(&Value::Number(value)) => Ok(value),
            Some(Value::Table(table)) => {
                if !self.eat("[") {
                    return Err(format!("`{word}` needs an index"));
                }
                let index = self.binary(0)?;
                if !self.eat("]") {
                    return Err("missing `]`".into());
                }
                usize::try_from(index)
                    .ok()
                    .and_then(|i| table.get(i))
                    .copied()
                    .ok_or_else(|| format!("`{word}[{index}]` is out of range"))
            }
            Some(Value::Texts(_)) => Err(format!("`{word}` is text, not a number")),
            None if word.is_empty() => Err("a number or name is missing".into()),
            None => Err(format!("unknown name `{word}`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn run(text: &'static str) -> Result<String> {
        let mut defines = Defines::default();
        defines
            .number("N", 3)
            .table("WIDTH", [4, 5, 6])
            .floats("SLOPE", [0.2, 1.0]);
        let read = |file: &str| match file {
            "a.wgsl" => Some(Cow::Borrowed(text)),
            "b.wgsl" => Some(Cow::Borrowed("B\n")),
            _ => None,
        };
        expand("a.wgsl", &read, &defines)
    }

    #[test]
    fn expands_loops_conditions_tables_and_imports() {
        let text = "#import \"b.wgsl\"\n#import \"b.wgsl\"\n#for L in 0..N\n#if WIDTH[L] % 2 == 0 && L > 0\neven #{L}\n\
                    #else\nw#{WIDTH[L] - (1 + L) * 2}\n#endif\n#end\ns #{SLOPE[1]} #{SLOPE[0]}\n";
        assert_eq!(run(text).unwrap(), "B\nw2\nw1\neven 2\ns 1.0f 0.2f\n");
    }

    #[test]
    fn errors_name_file_and_line() {
        for (text, message) in [
            ("x\n#{M}\n", "shaders/a.wgsl:2: unknown name `M` in `M`"),
            (
                "#{WIDTH[3]}",
                "shaders/a.wgsl:1: `WIDTH[3]` is out of range in `WIDTH[3]`",
            ),
            ("#{SLOPE[2]}", "shaders/a.wgsl:1: `SLOPE[2]` is out of range"),
            (
                "#{1 / 0}",
                "shaders/a.wgsl:1: overflow or division by zero in `1 / 0`",
            ),
            ("#if 1\nx", "shaders/a.wgsl:1: `#if` without its `#endif`"),
            (
                "#for I in 0..2\n#endif\n#end",
                "shaders/a.wgsl:1: `#for` without its `#end`",
            ),
            ("#end", "shaders/a.wgsl:1: `#end` does not belong here"),
            (
                "#import \"c.wgsl\"",
                "shaders/a.wgsl:1: there is no shader file `c.wgsl`",
            ),
            ("#{1 2}", "shaders/a.wgsl:1: unexpected `2` in `1 2`"),
        ] {
            assert_eq!(run(text).unwrap_err().to_string(), message);
        }
    }
}
