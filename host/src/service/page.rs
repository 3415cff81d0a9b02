//! The page for operators: extensions, their states and calls, and their last denied requests.

use std::fmt::Write;

use jiff::Timestamp;

use super::admin::Shown;
use super::status::State;

/// The largest number of extensions on the page. All extensions are at `/extensions`.
const MAX_SHOWN: usize = 1000;

/// The start of the page, up to the first heading.
const HEAD: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="5">
<title>Attaché: extensions</title>
<style>
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --good: #1a7f37; --wait: #9a6700; --bad: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --good: #3fb950; --wait: #d29922; --bad: #f85149; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; }
p.sum { margin: 0 0 1.5rem; opacity: .75; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .45rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; opacity: .75; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.state { font-weight: 600; white-space: nowrap; }
.state::before { content: ""; display: inline-block; width: .6em; height: .6em; border-radius: 50%; background: currentColor; margin-right: .45em; }
.good { color: var(--good); } .wait { color: var(--wait); } .bad { color: var(--bad); }
.reason, .since { opacity: .75; font-size: .9em; }
.error { color: var(--bad); font-size: .9em; white-space: pre-wrap; overflow-wrap: anywhere; }
details { margin-top: .3rem; } summary { cursor: pointer; }
code { font: .9em ui-monospace, monospace; background: var(--soft); padding: .1em .3em; border-radius: 3px; overflow-wrap: anywhere; }
li { margin: .3rem 0; }
</style>
</head>
<body>
<h1>Extensions</h1>
"#;

/// Returns the page as HTML.
pub(super) fn render(extensions: &[Shown]) -> String {
    let mut page = HEAD.to_owned();
    // Writing into a string does not fail.
    let _ = body(&mut page, extensions);
    page.push_str("</body>\n</html>\n");
    page
}

fn body(page: &mut String, extensions: &[Shown]) -> std::fmt::Result {
    let of = |state: State| extensions.iter().filter(|shown| shown.status.state == state).count();
    writeln!(
        page,
        "<p class=\"sum\">{} extensions: {} ready, {} waiting, {} failed. Read at {:.0}. \
         <a href=\"/extensions\">JSON</a>, <a href=\"/metrics\">metrics</a></p>",
        extensions.len(),
        of(State::Ready),
        of(State::Waiting),
        of(State::Failed),
        Timestamp::now()
    )?;
    page.push_str(
        "<table>\n<thead><tr><th>Extension</th><th>State</th><th class=\"number\">Calls</th>\
         <th class=\"number\">Failed</th><th class=\"number\">Allowed</th><th class=\"number\">Denied</th></tr></thead>\n<tbody>\n",
    );
    for shown in extensions.iter().take(MAX_SHOWN) {
        row(page, shown)?;
    }
    page.push_str("</tbody>\n</table>\n");
    if extensions.len() > MAX_SHOWN {
        writeln!(page, "<p>{} more are in the JSON.</p>", extensions.len() - MAX_SHOWN)?;
    }
    Ok(())
}

fn row(page: &mut String, Shown { status, decided }: &Shown) -> std::fmt::Result {
    let colour = match status.state {
        State::Ready => "good",
        State::Failed => "bad",
        State::Stopped => "",
        _ => "wait",
    };
    write!(
        page,
        "<tr><td><strong>{}</strong> <span class=\"since\">{}</span>",
        escaped(&status.name),
        escaped(status.trigger)
    )?;
    if let Some(error) = &status.reload_error {
        write!(page, "<div class=\"error\">The newest version did not take over: {}</div>", escaped(error))?;
    }
    denials(page, decided.denials.iter().map(|denial| (denial.at, &*denial.request, &*denial.reason)))?;
    write!(
        page,
        "</td><td><span class=\"state {colour}\">{}</span> <span class=\"since\">since {:.0}</span>\
         <div class=\"reason\">{}</div></td>",
        status.state,
        status.since,
        escaped(&status.reason)
    )?;
    for number in [status.counts.calls, status.counts.failed, decided.allowed, decided.denied] {
        write!(page, "<td class=\"number\">{number}</td>")?;
    }
    page.push_str("</tr>\n");
    Ok(())
}

fn denials<'a>(
    page: &mut String,
    denials: impl ExactSizeIterator<Item = (Timestamp, &'a str, &'a str)>,
) -> std::fmt::Result {
    if denials.len() == 0 {
        return Ok(());
    }
    write!(page, "<details><summary>{} last denials</summary><ul>", denials.len())?;
    for (at, request, reason) in denials {
        write!(page, "<li>{at:.0} <code>{}</code><br>{}</li>", escaped(request), escaped(reason))?;
    }
    page.push_str("</ul></details>");
    Ok(())
}

/// Returns a text escaped for HTML, with control characters made visible.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in crate::telemetry::legible(text).chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            letter => out.push(letter),
        }
    }
    out
}
