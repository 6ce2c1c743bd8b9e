//! What a program may not leave behind: mounts, processes, temporary files, half-made results.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time in which the kernel may clean up behind a killed program.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything below `top` that should not be there, one line each. `temp` is the program's TMPDIR, `stores` its stores.
pub(crate) fn find(top: &Path, temp: &Path, stores: &[PathBuf]) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut found = mounts(top);
        found.extend(processes(top));
        found.extend(entries(temp).into_iter().map(|path| format!("temporary file {path}")));
        for store in stores {
            let half_made = entries(&store.join("ingest"));
            found.extend(half_made.into_iter().map(|path| format!("half-made {path}")));
        }
        if found.is_empty() || Instant::now() > deadline {
            return found;
        }
        // Death is noticed and waited for by other processes; nothing tells us when they are done.
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn mounts(top: &Path) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let top = top.to_string_lossy();
    table.lines().filter(|line| line.contains(&*top)).map(|line| format!("mount {line}")).collect()
}

/// Processes with their directory, root or program below `top`, or with the place in their arguments.
fn processes(top: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for process in entries(Path::new("/proc")) {
        let process = Path::new(&process);
        let number =
            process.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse::<u32>().ok());
        let Some(number) = number.filter(|number| *number != std::process::id()) else { continue };
        let links = ["cwd", "root", "exe"].map(|link| std::fs::read_link(process.join(link)));
        let inside = links.iter().flatten().any(|target| target.starts_with(top));
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if inside || line.contains(&*top.to_string_lossy()) {
            found.push(format!("process {number}: {line}"));
        }
    }
    found
}

fn entries(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().to_string_lossy().into_owned()).collect()
}
