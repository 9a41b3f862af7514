//! What `-h` and `--help` show of the commands: a dozen options on one screen, and all of them in groups.

use clap::{Arg, Command};

/// Groups of options in `--help`; what is in none is the command's own.
const GROUPS: [(&str, &[&str]); 8] = [
    (
        "Reading",
        &[
            "nodata",
            "bands",
            "msi_bands",
            "hsi_mask",
            "msi_mask",
            "mask",
            "axes",
            "shape",
            "wavelengths",
            "clouds",
            "msi_axes",
            "msi_wavelengths",
            "msi_clouds",
        ],
    ),
    ("Placing", &["ignore_georeference", "align", "grid"]),
    ("Sensors", &["psf", "srf", "kernel", "psf_model", "fixed_centre"]),
    (
        "Training and refinement",
        &[
            "preset",
            "config",
            "dump_config",
            "seed",
            "steps",
            "finetune_steps",
            "members",
            "revive",
            "patience",
            "no_coordination",
            "refine",
            "robust",
        ],
    ),
    (
        "Device and memory",
        &[
            "backend",
            "adapter",
            "checked",
            "precision",
            "max_gpu_memory",
            "no_self_test",
            "max_memory",
            "scratch",
        ],
    ),
    ("Interrupted runs", &["checkpoint", "every", "resume"]),
    (
        "Further results",
        &[
            "save_degradation",
            "save_std",
            "save_suspect",
            "co",
            "reference",
            "report",
            "log",
            "strict",
        ],
    ),
    (
        "Of every command",
        &["json", "quiet", "json_progress", "log_file", "threads"],
    ),
];

/// Options that `-h` shows, with a line each: commands (none: all), the option, what is said of it. The first line that fits is
/// taken.
const SHORT: &[(&str, &str, &str)] = &[
    ("", "hsi_name", "Low-resolution hyperspectral image"),
    ("", "msi_name", "High-resolution multispectral or RGB image"),
    ("simulate", "hsi", "Reference hyperspectral image"),
    ("infer", "msi", "High-resolution multispectral image"),
    ("demo", "out", "Folder for the pictures"),
    ("manual", "out", "Folder for the pages"),
    ("train", "out", "Model to write (.safetensors)"),
    ("finetune", "out", "Model to write (.safetensors)"),
    ("render", "out", "Picture to write (.png)"),
    (
        "fuse,align,infer",
        "out",
        "Image to write (.tif, .hdr, .npy, .npz, .mat)",
    ),
    ("", "out", "Folder for the results"),
    ("", "out_hsi", "Low-resolution image to write"),
    ("", "out_msi", "High-resolution image to write"),
    ("", "out_reference", "The part of the reference that both show"),
    (
        "simulate",
        "psf",
        "paper:5, gaussian:2.5,1.5,0.6, disk:3 or a file",
    ),
    ("simulate", "srf", "A sensor (sentinel-2a:B2,B3) or a file"),
    (
        "fuse,estimate,finetune,train",
        "psf",
        "Point spread function, if known: name or file",
    ),
    (
        "fuse,estimate,train",
        "srf",
        "Response, if known: sentinel-2a:B2,B3 or a file",
    ),
    ("eval", "scale", "Ratio of the pixel grids, for ERGAS"),
    ("", "scale", "Ratio of the pixel grids"),
    ("", "snr_hsi", "Noise of the low-resolution image, dB"),
    ("", "snr_msi", "Noise of the high-resolution image, dB"),
    ("", "grid", "Pixels of the result: msi or hsi"),
    (
        "fuse,estimate,align,finetune",
        "align",
        "Registration: auto, off, shift, affine or local",
    ),
    ("profile", "bands", "Bands of the HSI"),
    ("convert", "bands", "Bands to take: 0-99,110 or 400nm-900nm"),
    (
        "fuse,estimate,align,finetune,infer,simulate,eval,render,info,convert",
        "nodata",
        "Value that stands for no data",
    ),
    (
        "fuse,train,demo,simulate,infer",
        "seed",
        "Seed: same seed, same bits",
    ),
    ("", "backend", "auto, gpu or cpu"),
    ("batch", "adapter", "GPUs to spread over, by number, or all"),
    ("verify", "adapter", "GPU by number or part of its name"),
    ("eval", "reference", "Reference image"),
    ("render", "reference", "Adds maps of the error against it"),
    ("", "reference", "True image: adds PSNR, SAM and others"),
    ("", "report", "Folder for a page with pictures and spectra"),
    ("fuse", "save_std", "Standard deviation of every sample"),
    ("estimate", "save_degradation", "Folder for psf.npy and srf.npy"),
    ("", "scenes", "Text file, one HSI,MSI a line"),
    ("train", "preset", "cave, harvard, chikusei, wv2, single-scene"),
    ("train", "steps", "Steps of training"),
    ("train", "resume", "Go on from a checkpoint or model"),
    ("train", "checkpoint", "File that keeps an interrupted run"),
    ("finetune", "steps", "Steps of fine-tuning"),
    ("", "model", "Model that train or finetune wrote"),
    ("", "sample", "Draw a sample instead of the mean"),
    ("", "estimate", "Estimated image"),
    ("", "convention", "strict, daem or all"),
    ("", "mask", "Image that is 0 where pixels are left out"),
    ("", "no_reference", "Compare with HSI and MSI instead: QNR"),
    ("", "manifest", "Text file, one HSI,MSI a line"),
    ("", "fuse", "Options of fuse, after --"),
    ("", "format", "Ending of the results, such as tif"),
    ("", "shard", "Part of the list, 1/4, or auto"),
    ("", "fresh", "Do again what is done"),
    ("", "images", "Images, side by side"),
    ("", "rgb", "Bands or wavelengths of red, green and blue"),
    ("", "band", "One band in colours instead"),
    ("", "limits", "Samples that are black and white"),
    ("", "error_limit", "Error of the brightest colour"),
    ("", "label", "Captions, between commas"),
    ("", "file", "Image"),
    (
        "info,convert",
        "axes",
        "Order of an array's axes: hwb, bhw or hbw",
    ),
    ("info,convert", "wavelengths", "File of the bands' wavelengths"),
    ("", "input", "Image to read"),
    ("", "output", "Image to write"),
    ("", "sample_type", "Numbers to write: f32, u16 and others"),
    ("", "interleave", "ENVI: bsq, bil or bip"),
    ("verify", "precision", "f32 or f16"),
    ("verify", "checked", "With bounds checks and guarded buffers"),
    ("", "all", "Print every comparison"),
    ("", "stage", "What is profiled"),
    ("", "trace", "Timeline for ui.perfetto.dev"),
    ("bench", "only", "One of the measurements"),
    ("", "sweep", "Many sizes"),
    ("", "shell", "bash, zsh, fish, elvish or powershell"),
    ("", "name", "One of them, band by band"),
    ("", "csv", "Its curves, a row a nanometre"),
    ("", "seeds", "Runs with different seeds"),
];

/// The commands by what they are for, for `hsr-gpu -h`.
const COMMANDS: &str = "\
Commands:
  fusion        demo, fuse, batch, estimate, align
  models        train, finetune, infer
  quality       simulate, eval, experiment, render
  files         info, convert, sensors
  this machine  devices, doctor, verify, profile, bench
  shell         completions, manual

Examples:
  hsr-gpu fuse lr.tif hr.tif -o z.tif       the main job
  hsr-gpu fuse -h                           the options that matter
  hsr-gpu fuse --help                       all of them
  hsr-gpu --help                            the commands, a line each";

/// Calls of the commands that take two images by position or by option, which clap would show as if they could be left out.
const USAGE: [(&str, &str); 4] = [
    ("fuse", "hsr-gpu fuse [OPTIONS] <HSI> <MSI> --out <FILE>"),
    ("estimate", "hsr-gpu estimate [OPTIONS] <HSI> <MSI>"),
    ("align", "hsr-gpu align [OPTIONS] <HSI> <MSI> --out <FILE>"),
    (
        "finetune",
        "hsr-gpu finetune [OPTIONS] <HSI> <MSI> --model <MODEL> --out <MODEL>",
    ),
];

/// The program with its help in groups or, where that is what was asked for, short.
pub fn helpful(program: Command, short: bool) -> Command {
    let program = USAGE.iter().fold(program, |program, (name, usage)| {
        program.mut_subcommand(name, |command| command.override_usage(*usage))
    });
    if !short {
        return grouped(program);
    }
    let program = shortened(program, "");
    program
        .help_template("{about-with-newline}\n{usage-heading} {usage}{after-help}")
        .after_help(COMMANDS)
}

fn grouped(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let id = arg.get_id().as_str();
        match GROUPS.iter().position(|(_, ids)| ids.contains(&id)) {
            Some(k) => arg.help_heading(GROUPS[k].0).display_order(100 * (k + 1)),
            None => arg,
        }
    });
    command.mut_subcommands(grouped)
}

/// `path` is the command as it is called, without the program's name.
fn shortened(command: Command, path: &str) -> Command {
    let command = command.mut_args(|arg| match line(path, &arg) {
        Some(text) if arg.get_action().takes_values() => {
            arg.help(text).hide_default_value(true).hide_possible_values(true)
        }
        Some(text) => arg.help(text),
        None => arg.hide(true),
    });
    command.mut_subcommands(|sub| {
        let path = format!("{path} {}", sub.get_name());
        shortened(sub, path.trim_start())
    })
}

/// Whether a command is among those of a line.
fn is_of(commands: &str, command: &str) -> bool {
    commands.is_empty() || commands.split(',').any(|one| one == command)
}

/// What `-h` of a command says of an option; none where it says nothing.
fn line(command: &str, arg: &Arg) -> Option<&'static str> {
    let id = arg.get_id().as_str();
    let fits = |(of, known, _): &&(&str, &str, &'static str)| *known == id && is_of(of, command);
    SHORT.iter().find(fits).map(|(_, _, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// Every command with its parent's name, the program's own first.
    fn commands(program: Command) -> Vec<Command> {
        let mut found = vec![program];
        let mut at = 0;
        while at < found.len() {
            let subs: Vec<Command> = found[at].get_subcommands().cloned().collect();
            found.extend(subs.into_iter().filter(|c| c.get_name() != "help"));
            at += 1;
        }
        found
    }

    fn built(short: bool) -> Vec<Command> {
        let mut program = helpful(super::super::Cli::command(), short).term_width(100);
        program.build();
        commands(program)
    }

    #[test]
    fn short_help_fits_a_screen() {
        for mut command in built(true) {
            let text = command.render_help().to_string();
            assert!(text.lines().count() <= 24, "{text}");
        }
    }

    #[test]
    fn what_is_required_is_in_the_short_help() {
        for command in built(true) {
            for arg in command.get_arguments().filter(|arg| arg.is_required_set()) {
                assert!(!arg.is_hide_set(), "{} {}", command.get_name(), arg.get_id());
            }
        }
    }

    #[test]
    fn every_line_of_the_tables_is_of_an_option() {
        let commands = built(false);
        let has = |command: &Command, id: &str| command.get_arguments().any(|arg| arg.get_id() == id);
        for (of, id, _) in SHORT {
            let there = |c: &Command| has(c, id) && is_of(of, c.get_name());
            assert!(commands.iter().any(there), "{of} {id}");
        }
        for id in GROUPS.iter().flat_map(|(_, ids)| *ids) {
            assert!(commands.iter().any(|c| has(c, id)), "{id}");
        }
        for command in commands[0].get_subcommands() {
            assert!(COMMANDS.contains(command.get_name()), "{}", command.get_name());
        }
    }
}
