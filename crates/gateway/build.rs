//! Lists the files that the binary serves: the JS client as it is in `js-client/`, the demo's
//! pages and the documents they link to. There is no other build step: what is in the folders is what runs.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let js_client = here.join("../../js-client");
    let mut table = String::new();
    let client = js_client.join("src");
    list(
        &mut table,
        "CLIENT",
        &client,
        &[("", js_client.join("perigee.js"))],
    )?;
    list(&mut table, "PAGES", &here.join("src/demo/pages"), &[])?;
    list(&mut table, "DOCS", &here.join("../../docs"), &[])?;
    fs::write(
        Path::new(&env::var_os("OUT_DIR").expect("cargo sets it")).join("assets.rs"),
        table,
    )
}

/// Writes a table of (path, entity tag, bytes) of the files below `folder`, and of `more`.
fn list(table: &mut String, name: &str, folder: &Path, more: &[(&str, PathBuf)]) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<(String, PathBuf)> = more
        .iter()
        .map(|(path, file)| ((*path).to_owned(), file.clone()))
        .collect();
    walk(folder, "", &mut files)?;
    files.sort();
    table.push_str(&format!("static {name}: &[Asset] = &[\n"));
    for (path, file) in files {
        println!("cargo::rerun-if-changed={}", file.display());
        let mut hasher = DefaultHasher::new();
        fs::read(&file)?.hash(&mut hasher);
        let tag = format!("\"{:016x}\"", hasher.finish());
        let file = file.canonicalize()?;
        table.push_str(&format!(
            "    Asset {{ path: {path:?}, tag: {tag:?}, bytes: include_bytes!({file:?}) }},\n"
        ));
    }
    table.push_str("];\n");
    Ok(())
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry
            .file_name()
            .into_string()
            .expect("our file names are UTF-8");
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &format!("{path}/"), files)?;
        } else if !name.ends_with(".json") && !name.ends_with(".png") {
            files.push((path, entry.path()));
        }
    }
    Ok(())
}
