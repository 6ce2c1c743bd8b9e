use layer::*;
use std::os::fd::AsFd;
use std::time::Instant;
fn main() {
    let dir = std::env::args().nth(1).unwrap();
    let fd = std::fs::File::open(&dir).unwrap();
    let t = Instant::now();
    let raw = scan_upper(fd.as_fd(), false).unwrap();
    eprintln!("scan {} entries {:?}", raw.entries().len(), t.elapsed());
    let t = Instant::now();
    let mut toc = normalize(raw, fd.as_fd(), &[], &|_| None).unwrap();
    eprintln!("normalize {:?}", t.elapsed());
    let t = Instant::now();
    digest_files(fd.as_fd(), &mut toc, &|| false).unwrap();
    eprintln!("digest {:?}", t.elapsed());
    let t = Instant::now();
    content_id(&toc);
    eprintln!("content id {:?}", t.elapsed());
    let t = Instant::now();
    let mut b = Vec::new();
    toc.write(&mut b).unwrap();
    eprintln!("toc write {} {:?}", b.len(), t.elapsed());
    let t = Instant::now();
    Toc::read(&mut &b[..]).unwrap();
    eprintln!("toc read {:?}", t.elapsed());
    let t = Instant::now();
    let s = write_tar(fd.as_fd(), &toc, &Encoding::default(), &mut std::io::sink()).unwrap();
    eprintln!("tar {} {:?}", s.size_bytes, t.elapsed());
    for c in [Compression::Gzip(1), Compression::Gzip(4), Compression::Gzip(6), Compression::zstd()]
    {
        let t = Instant::now();
        let mut out = std::fs::File::create("/tmp/layerbench.blob").unwrap();
        let s = write_layer(fd.as_fd(), &toc, &Encoding::default(), c, &mut out).unwrap();
        eprintln!("{c:?} {} {:?}", s.size_bytes, t.elapsed());
        let into = tempfile::tempdir().unwrap();
        let t = Instant::now();
        let mut src = decompress(std::fs::File::open("/tmp/layerbench.blob").unwrap());
        let o = ApplyOptions { userxattr: false, owners_in_toc_only: false, lower_dir: &|_| None };
        let ifd = std::fs::File::open(into.path()).unwrap();
        let a = apply_tar(&mut src, ifd.as_fd(), &[], &o).unwrap();
        eprintln!("  apply {:?} same {}", t.elapsed(), content_id(&a.toc) == content_id(&toc));
    }
    let st = std::fs::read_to_string("/proc/self/status").unwrap();
    eprintln!("{}", st.lines().find(|l| l.starts_with("VmHWM")).unwrap());
}
