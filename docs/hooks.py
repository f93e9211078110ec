"""For the site alone: pictures of `results/` stand beside the pages, where in the repository they stand above them."""

from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent


def on_files(files, config):
    for path in sorted(ROOT.glob("results/**/*.png")):
        name = path.relative_to(ROOT).as_posix()
        if not {"cells", "smoke", "chosen"} & set(path.parts):
            files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown, **_):
    return markdown.replace("](../results/", "](results/")
