//! eBPF for the transit daemon: data in, data out, opaque handles; no decisions. `dataplane/native.ts` is the only importer.
//! Every function fails with libbpf's own words, which its error codes alone would hide.
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;

use libbpf_rs::libbpf_sys;
use libbpf_rs::{MapCore, MapFlags, MapHandle, Object, ObjectBuilder, PrintLevel};
use napi::bindgen_prelude::{Buffer, External};
use napi::{Error, Result};
use napi_derive::napi;

static WORDS: Mutex<String> = Mutex::new(String::new());
const WORDS_LIMIT: usize = 16 * 1024;

fn listen(_level: PrintLevel, text: String) {
    if let Ok(mut words) = WORDS.lock() {
        if words.len() + text.len() < WORDS_LIMIT {
            words.push_str(&text);
        }
    }
}

fn forget_words() {
    libbpf_rs::set_print(Some((PrintLevel::Warn, listen)));
    if let Ok(mut words) = WORDS.lock() {
        words.clear();
    }
}

fn fail(what: &str, cause: impl std::fmt::Display) -> Error {
    let words = WORDS.lock().map(|w| w.trim().to_string()).unwrap_or_default();
    Error::from_reason(if words.is_empty() { format!("{what}: {cause}") } else { format!("{what}: {cause}: {words}") })
}

fn os_error(code: i32) -> std::io::Error {
    std::io::Error::from_raw_os_error(code.abs())
}

fn c_string(what: &str, text: &str) -> Result<CString> {
    CString::new(text).map_err(|e| fail(what, e))
}

pub struct Programs {
    object: Object,
}

#[napi(object)]
pub struct TestRun {
    pub verdict: u32,
    pub nanoseconds: u32,
    pub output: Buffer,
}

#[napi(object)]
pub struct MapShape {
    pub key_size: u32,
    /// Of one value as user space sees it: for per-CPU maps, of all CPUs' values together.
    pub value_size: u32,
    pub max_entries: u32,
}

/// Loads an object; its maps are pinned in `pin_dir`, or taken from there when an earlier process left them.
#[napi]
pub fn load_object(path: String, pin_dir: String) -> Result<External<Programs>> {
    forget_words();
    std::fs::create_dir_all(&pin_dir).map_err(|e| fail(&pin_dir, e))?;
    let mut open = ObjectBuilder::default().open_file(&path).map_err(|e| fail(&path, e))?;
    for mut map in open.maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        if name.starts_with('.') || name.contains(".rodata") || name.contains(".bss") || name.contains(".data") {
            continue;
        }
        map.set_pin_path(Path::new(&pin_dir).join(&name)).map_err(|e| fail(&name, e))?;
    }
    let object = open.load().map_err(|e| fail(&path, e))?;
    Ok(External::new(Programs { object }))
}

fn program_of<'a>(programs: &'a Programs, name: &str) -> Result<libbpf_rs::Program<'a>> {
    programs.object.progs().find(|p| p.name() == name).ok_or_else(|| Error::from_reason(format!("no program {name} in the object")))
}

fn open_pinned(path: &str) -> std::result::Result<OwnedFd, std::io::Error> {
    let c = CString::new(path).map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidInput, e))?;
    // SAFETY: a valid C string; the returned descriptor is owned by nobody else.
    let fd = unsafe { libbpf_sys::bpf_obj_get(c.as_ptr()) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn index_of(interface: &str) -> Result<i32> {
    let name = c_string("interface", interface)?;
    // SAFETY: a valid C string.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(fail(interface, std::io::Error::last_os_error())),
        index => Ok(index as i32),
    }
}

/// Attaches to an interface of this network namespace and pins the link; a link that is there gets the new program without a gap.
/// Returns "attached" or "replaced".
fn attach(programs: &Programs, program: &str, interface: &str, pin: &str, kind: libbpf_sys::bpf_attach_type, flags: u32) -> Result<String> {
    forget_words();
    let prog = program_of(programs, program)?;
    let fd = prog.as_fd().as_raw_fd();
    let ifindex = index_of(interface)?;
    if let Ok(link) = open_pinned(pin) {
        // SAFETY: both descriptors are open for the length of the call.
        if unsafe { libbpf_sys::bpf_link_update(link.as_raw_fd(), fd, std::ptr::null()) } == 0 {
            return Ok("replaced".into());
        }
        // Its device is gone, and a new one has the name.
        std::fs::remove_file(pin).map_err(|e| fail(pin, e))?;
    }
    // SAFETY: all zero is a valid value of this plain C struct.
    let mut opts: libbpf_sys::bpf_link_create_opts = unsafe { std::mem::zeroed() };
    opts.sz = std::mem::size_of::<libbpf_sys::bpf_link_create_opts>() as _;
    opts.flags = flags;
    // SAFETY: `opts` outlives the call.
    let link = unsafe { libbpf_sys::bpf_link_create(fd, ifindex, kind, &opts) };
    if link < 0 {
        return Err(fail(&format!("attach {program} to {interface}"), os_error(link)));
    }
    // SAFETY: just made, and owned by nobody else. The pin holds the link from here on; dropping closes only our own descriptor.
    let link = unsafe { OwnedFd::from_raw_fd(link) };
    if let Some(parent) = Path::new(pin).parent() {
        std::fs::create_dir_all(parent).map_err(|e| fail(pin, e))?;
    }
    let path = c_string("pin", pin)?;
    // SAFETY: a valid C string and an open descriptor.
    let rc = unsafe { libbpf_sys::bpf_obj_pin(link.as_raw_fd(), path.as_ptr()) };
    if rc < 0 {
        return Err(fail(pin, os_error(rc)));
    }
    Ok("attached".into())
}

/// At tcx ingress.
#[napi]
pub fn attach_tcx(programs: &External<Programs>, program: String, interface: String, pin: String) -> Result<String> {
    attach(programs, &program, &interface, &pin, libbpf_sys::BPF_TCX_INGRESS, 0)
}

/// At XDP, native or generic.
#[napi]
pub fn attach_xdp(programs: &External<Programs>, program: String, interface: String, pin: String, is_native: bool) -> Result<String> {
    let flags = if is_native { libbpf_sys::XDP_FLAGS_DRV_MODE } else { libbpf_sys::XDP_FLAGS_SKB_MODE };
    attach(programs, &program, &interface, &pin, libbpf_sys::BPF_XDP, flags)
}

/// What the interface says it can do in XDP, now: bits of `enum netdev_xdp_act` (linux/netdev.h).
#[napi]
pub fn xdp_features(interface: String) -> Result<u32> {
    forget_words();
    // SAFETY: all zero is a valid value of this plain C struct.
    let mut opts: libbpf_sys::bpf_xdp_query_opts = unsafe { std::mem::zeroed() };
    opts.sz = std::mem::size_of::<libbpf_sys::bpf_xdp_query_opts>() as _;
    // SAFETY: `opts` outlives the call.
    let rc = unsafe { libbpf_sys::bpf_xdp_query(index_of(&interface)?, 0, &mut opts) };
    if rc < 0 {
        return Err(fail(&interface, os_error(rc)));
    }
    Ok(opts.feature_flags as u32)
}

/// One run on a fresh copy of the packet.
fn run_once(prog: &libbpf_rs::Program, packet: &[u8], output: &mut [u8], ifindex: u32) -> std::result::Result<(u32, u32, usize), i32> {
    // struct __sk_buff and struct xdp_md: words in the order of linux/bpf.h.
    let mut buffer = [0u32; 48];
    buffer[10] = ifindex;
    let frame = [0u32, packet.len() as u32, 0, ifindex, 0, 0];
    // SAFETY: all zero is a valid value of this plain C struct.
    let mut opts: libbpf_sys::bpf_test_run_opts = unsafe { std::mem::zeroed() };
    opts.sz = std::mem::size_of::<libbpf_sys::bpf_test_run_opts>() as _;
    opts.data_in = packet.as_ptr().cast();
    opts.data_size_in = packet.len() as u32;
    opts.data_out = output.as_mut_ptr().cast();
    opts.data_size_out = output.len() as u32;
    opts.repeat = 1;
    match prog.prog_type() {
        libbpf_rs::ProgramType::SchedCls => {
            opts.ctx_in = buffer.as_ptr().cast();
            opts.ctx_size_in = std::mem::size_of_val(&buffer) as u32;
        }
        libbpf_rs::ProgramType::Xdp if ifindex != 0 => {
            opts.ctx_in = frame.as_ptr().cast();
            opts.ctx_size_in = std::mem::size_of_val(&frame) as u32;
        }
        _ => {}
    }
    // SAFETY: all that `opts` points to outlives the call.
    let rc = unsafe { libbpf_sys::bpf_prog_test_run_opts(prog.as_fd().as_raw_fd(), &mut opts) };
    if rc < 0 {
        return Err(rc);
    }
    Ok((opts.retval, opts.duration, opts.data_size_out as usize))
}

#[napi]
pub fn test_run(programs: &External<Programs>, program: String, packet: Buffer, ifindex: u32) -> Result<TestRun> {
    forget_words();
    let prog = program_of(programs, &program)?;
    let mut output = vec![0u8; packet.len() + 512];
    let (verdict, nanoseconds, bytes) = run_once(&prog, &packet, &mut output, ifindex).map_err(|rc| fail(&program, os_error(rc)))?;
    output.truncate(bytes);
    Ok(TestRun { verdict, nanoseconds, output: output.into() })
}

/// Nanoseconds of each of many runs, every one on a fresh copy of the packet.
#[napi]
pub fn time_runs(programs: &External<Programs>, program: String, packet: Buffer, ifindex: u32, runs: u32) -> Result<Vec<u32>> {
    forget_words();
    let prog = program_of(programs, &program)?;
    let mut output = vec![0u8; packet.len() + 512];
    (0..runs)
        .map(|_| run_once(&prog, &packet, &mut output, ifindex).map(|(_, nanoseconds, _)| nanoseconds).map_err(|rc| fail(&program, os_error(rc))))
        .collect()
}

pub struct Map {
    handle: MapHandle,
    value_size: usize,
}

/// A map by the path it is pinned at.
#[napi]
pub fn open_map(path: String) -> Result<External<Map>> {
    forget_words();
    let handle = MapHandle::from_pinned_path(&path).map_err(|e| fail(&path, e))?;
    let cpus = libbpf_rs::num_possible_cpus().map_err(|e| fail("CPUs", e))?;
    let one = handle.value_size() as usize;
    let value_size = if handle.map_type().is_percpu() { one.next_multiple_of(8) * cpus } else { one };
    Ok(External::new(Map { handle, value_size }))
}

#[napi]
pub fn map_shape(map: &External<Map>) -> MapShape {
    MapShape { key_size: map.handle.key_size(), value_size: map.value_size as u32, max_entries: map.handle.max_entries() }
}

fn entries_in(map: &Map, keys: &[u8]) -> Result<usize> {
    let size = map.handle.key_size() as usize;
    if keys.is_empty() || keys.len() % size != 0 {
        return Err(Error::from_reason(format!("keys: expected a multiple of {size} bytes, got {}", keys.len())));
    }
    Ok(keys.len() / size)
}

/// Writes any number of entries: keys one after the other, values likewise.
#[napi]
pub fn map_update(map: &External<Map>, keys: Buffer, values: Buffer) -> Result<()> {
    forget_words();
    let n = entries_in(map, &keys)?;
    let (k, v) = (map.handle.key_size() as usize, map.handle.value_size() as usize);
    if values.len() != n * v {
        return Err(Error::from_reason(format!("values: expected {n} times {v} bytes, got {}", values.len())));
    }
    for i in 0..n {
        map.handle.update(&keys[i * k..(i + 1) * k], &values[i * v..(i + 1) * v], MapFlags::ANY).map_err(|e| fail("update", e))?;
    }
    Ok(())
}

/// Removes entries; one that is not there is fine.
#[napi]
pub fn map_delete(map: &External<Map>, keys: Buffer) -> Result<()> {
    forget_words();
    let n = entries_in(map, &keys)?;
    let k = map.handle.key_size() as usize;
    for i in 0..n {
        if let Err(e) = map.handle.delete(&keys[i * k..(i + 1) * k]) {
            if e.kind() != libbpf_rs::ErrorKind::NotFound {
                return Err(fail("delete", e));
            }
        }
    }
    Ok(())
}

/// All entries: key, value, key, value, ...; `map_shape` tells the sizes.
#[napi]
pub fn map_entries(map: &External<Map>) -> Result<Buffer> {
    forget_words();
    let mut out = Vec::new();
    let is_percpu = map.handle.map_type().is_percpu();
    for key in map.handle.keys() {
        let value = if is_percpu {
            map.handle.lookup_percpu(&key, MapFlags::ANY).map_err(|e| fail("lookup", e))?.map(|all| all.concat())
        } else {
            map.handle.lookup(&key, MapFlags::ANY).map_err(|e| fail("lookup", e))?
        };
        // Gone since it was listed: somebody else's delete.
        let Some(mut value) = value else { continue };
        value.resize(map.value_size, 0);
        out.extend_from_slice(&key);
        out.extend_from_slice(&value);
    }
    Ok(out.into())
}
