/**
 * Joins the modules of `src` into one classic script and the styles into one file, and writes both, with the page that
 * names them, into the Python package. Modules do not load from `file://`; a classic script does.
 *
 * Run with a folder as argument, it writes there instead: that is how the test compares.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const folder = process.argv[2] ?? join(here, '../pixverse_dagster/reports/gallery/page');

/**
 * One built file: the same bytes on every machine.
 * @param {string} entry
 * @param {Partial<import('esbuild').BuildOptions>} options
 */
async function bundle(entry, options) {
  const built = await build({
    absWorkingDir: here,
    entryPoints: [entry],
    bundle: true,
    write: false,
    charset: 'utf8',
    legalComments: 'none',
    minifySyntax: true,
    minifyWhitespace: true,
    target: 'es2022',
    ...options,
  });
  return built.outputFiles[0].text.trimEnd() + '\n';
}

const script = await bundle('src/main.js', { format: 'iife' });
const style = await bundle('src/style/all.css', { target: ['chrome123', 'firefox121', 'safari17.5'] });
// The writer names the two files by this digest as well, so that a browser may keep them for ever.
const version = createHash('sha256').update(script).update(style).digest('hex').slice(0, 12);
const page = (await readFile(join(here, 'src/index.html'), 'utf8')).replaceAll('VERSION', version);

await mkdir(folder, { recursive: true });
await writeFile(join(folder, 'app.js'), script);
await writeFile(join(folder, 'app.css'), style);
await writeFile(join(folder, 'index.html'), page);
