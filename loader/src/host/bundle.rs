//! Where the plugin is.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Name of the bundle's folder.
const BUNDLE: &str = "driftmerge.lv2";
/// Name of the library in it; LV2 and LADSPA hosts load the same file.
const LIBRARY: &str = "driftmerge.so";

/// The plugin is nowhere.
#[derive(Debug, thiserror::Error)]
#[error(
    "the plugin bundle {BUNDLE} (with manifest.ttl and {LIBRARY}) was not found; looked at {}; make it with \
     scripts/bundle, or name it by --bundle or DRIFTMERGE_BUNDLE",
    places(looked)
)]
pub struct Missing {
    /// Where it was looked for.
    pub looked: Vec<PathBuf>,
}

fn places(looked: &[PathBuf]) -> String {
    looked.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The bundle's folder: the one given, or the first of the usual places that has it.
///
/// # Errors
/// There is none; the error says where it was looked for.
pub fn find_bundle(given: Option<&Path>) -> Result<PathBuf, Missing> {
    let places = match given {
        Some(folder) => vec![folder.to_owned(), folder.join(BUNDLE)],
        None => usual_places(
            env::var_os("LV2_PATH").as_deref(),
            env::current_exe().ok().as_deref(),
            env::var_os("HOME").as_deref(),
        ),
    };
    match places.iter().find(|p| p.join("manifest.ttl").is_file() && p.join(LIBRARY).is_file()) {
        Some(folder) => Ok(std::path::absolute(folder).unwrap_or_else(|_| folder.clone())),
        None => Err(Missing { looked: places }),
    }
}

/// The library of the bundle at `folder`.
pub fn library_of(folder: &Path) -> PathBuf {
    folder.join(LIBRARY)
}

/// Where a bundle may be, the nearest to this program first.
fn usual_places(lv2_path: Option<&OsStr>, program: Option<&Path>, home: Option<&OsStr>) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = lv2_path.map(|p| env::split_paths(p).collect()).unwrap_or_default();
    if let Some(folder) = program.and_then(Path::parent) {
        places.push(folder.to_owned());
        if let Some(above) = folder.parent() {
            places.push(above.join("lib/lv2"));
            // In a checkout the program is target/PROFILE/driftmerge, and scripts/bundle writes to target/bundle.
            places.push(above.join("bundle/lv2"));
        }
    }
    places.extend(home.map(|home| Path::new(home).join(".lv2")));
    places.extend(["/usr/local/lib/lv2", "/usr/lib/lv2"].map(PathBuf::from));
    places.iter().map(|place| place.join(BUNDLE)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_bundle_says_where_it_was_looked_for() {
        let missing = find_bundle(Some(Path::new("/no/such/folder"))).expect_err("missing");
        assert!(missing.to_string().contains("/no/such/folder, /no/such/folder/driftmerge.lv2"), "{missing}");
    }

    #[test]
    fn the_users_path_comes_first_then_what_lies_beside_the_program() {
        let places = usual_places(
            Some(OsStr::new("/x:/y")),
            Some(Path::new("/opt/bin/driftmerge")),
            Some(OsStr::new("/home/me")),
        );
        let at = |p: &str| places.iter().position(|q| q == &Path::new(p).join(BUNDLE)).expect("a usual place");
        assert!(at("/x") < at("/y") && at("/y") < at("/opt/lib/lv2") && at("/opt/lib/lv2") < at("/home/me/.lv2"));
    }
}
