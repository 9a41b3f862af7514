//! Spans as a trace of complete events, the JSON form that ui.perfetto.dev and chrome://tracing open: the "Trace Event
//! Format" with `ph` "X", times in microseconds; a stage is a thread, and "M" events name it.

use std::path::Path;

use serde_json::{Value, json};

use crate::engine::profile::Span;
use crate::error::{Error, Result};
use crate::io::replace;

/// The events of all stages, one behind the other.
fn events(device: &str, stages: &[(&str, Vec<Span>)]) -> Vec<Value> {
    let name = |kind: &str, tid: usize, name: &str| json!({"name": kind, "ph": "M", "pid": 1, "tid": tid, "args": {"name": name}});
    let mut events = vec![name("process_name", 0, device)];
    let mut offset = 0.0;
    for (tid, (stage, spans)) in stages.iter().enumerate() {
        events.push(name("thread_name", tid + 1, stage));
        let begin = spans.first().map_or(0.0, |s| s.begin);
        for span in spans {
            events.push(json!({
                "name": span.kernel,
                "cat": stage,
                "ph": "X",
                "pid": 1,
                "tid": tid + 1,
                "ts": 1e6 * (offset + span.begin - begin),
                "dur": 1e6 * span.seconds,
                "args": {"calls": span.calls, "operations": span.work.operations, "bytes": span.work.bytes},
            }));
        }
        let end = spans.iter().map(|s| s.begin + s.seconds).fold(begin, f64::max);
        offset += end - begin;
    }
    events
}

/// Writes the trace, in place of what stood there.
///
/// # Errors
/// [`Error`] naming the file.
pub fn write(path: &Path, device: &str, stages: &[(&str, Vec<Span>)]) -> Result<()> {
    let trace = json!({"displayTimeUnit": "ms", "traceEvents": events(device, stages)});
    let text = serde_json::to_vec(&trace).map_err(|e| Error::failed(format!("{}: {e}", path.display())))?;
    replace(path, |file| file.write_all(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::work::Work;

    #[test]
    fn stages_stand_one_behind_the_other() {
        let span = |begin, seconds| Span {
            kernel: "psf_blur".into(),
            calls: 1,
            begin,
            seconds,
            work: Work::of::<f32>(8, 2),
        };
        let stages = [
            ("train", vec![span(1.0, 0.5), span(2.0, 0.25)]),
            ("reconstruct", vec![span(9.0, 1.0)]),
        ];
        let events = events("device", &stages);
        let spans: Vec<_> = events.iter().filter(|e| e["ph"] == "X").collect();
        let times: Vec<f64> = spans.iter().map(|e| e["ts"].as_f64().unwrap()).collect();
        assert_eq!(times, [0.0, 1e6, 1.25e6]);
        assert_eq!(spans[1]["dur"], 0.25e6);
        assert_eq!(
            (&spans[2]["tid"], &spans[2]["args"]["bytes"]),
            (&json!(2), &json!(8))
        );
        assert_eq!(events.iter().filter(|e| e["ph"] == "M").count(), 3);
    }
}
