//! What a path says by itself, without a look at what is there.

use std::path::Path;

/// The folder that a file is in, as its path names it: `.` for a bare name, whose parent is empty.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_in_the_present_folder() {
        for (path, folder) in [("a.yaml", "."), ("./a.yaml", "."), ("b/a.yaml", "b"), ("/a.yaml", "/"), ("/", ".")] {
            assert_eq!(folder_of(Path::new(path)), Path::new(folder), "{path}");
        }
    }
}
