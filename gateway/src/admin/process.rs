//! What Prometheus' clients tell of a process on every platform, here from /proc.

use std::fs;

use rustix::process::{Resource, getrlimit};

use crate::metrics::Family;

/// Clock ticks a second in /proc/self/stat. The kernel reports in this unit whatever its own tick is.
const TICKS: f64 = 100.0;

/// Memory, CPU time and open files of this process; nothing where there is no /proc.
pub fn collect() -> Vec<Family> {
    let Ok(stat) = fs::read_to_string("/proc/self/stat") else { return Vec::new() };
    // The second field is the program's name in parentheses, and may hold anything: count from behind it (proc(5)).
    let fields: Vec<f64> =
        stat.rsplit(") ").next().unwrap_or_default().split(' ').map(|field| field.parse().unwrap_or(0.0)).collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0.0);
    let open_files = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let max_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    vec![
        Family::counter("process_cpu_seconds", "CPU time used, user and system", (field(14) + field(15)) / TICKS),
        Family::gauge(
            "process_resident_memory_bytes",
            "Resident memory",
            field(24) * rustix::param::page_size() as f64,
        ),
        Family::gauge("process_open_fds", "Open file descriptors", open_files),
        Family::gauge("process_max_fds", "The most open file descriptors", max_files as f64),
        Family::gauge("process_threads", "Threads", field(20)),
    ]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::metrics::Samples;

    #[test]
    fn this_process_uses_memory_files_and_threads() {
        for family in collect().iter().skip(1) {
            let Samples::Gauges(samples) = &family.samples else { panic!("{}", family.name) };
            assert!(samples[0].1 >= 1.0, "{}", family.name);
        }
    }
}
