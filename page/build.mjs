// Builds the page into src/hotdesk/web/static, the same bytes each time: `npm ci --ignore-scripts && npm run build`.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, rmSync, mkdirSync, writeFileSync, copyFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, transform } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const to = process.argv[2] ?? join(here, "../src/hotdesk/web/static");
rmSync(to, { recursive: true, force: true });
mkdirSync(to, { recursive: true });

// xterm.js writes its colours into style elements and into style attributes of markup, which the page's policy forbids.
// Here they become what the policy leaves to scripts that may run: constructed style sheets, and properties.
const XTERM = [
  [/[\w.]+\.createElement\("style"\)/g, 3, () => "sheetElement()"],
  [/setAttribute\("style",`\$\{t\.getAttribute\("style"\)\|\|""\}\$\{e\};`\)/g, 1, () => "style.cssText+=`${e};`"],
];
const strictly = {
  name: "xterm-strictly",
  setup: (building) => {
    building.onLoad({ filter: /xterm\.css$/ }, async ({ path }) => {
      const { code } = await transform(readFileSync(path, "utf8"), { loader: "css", minify: true, legalComments: "none" });
      return { contents: code, loader: "text" };
    });
    building.onLoad({ filter: /xterm[\\/]lib[\\/]xterm\.mjs$/ }, ({ path }) => {
      let text = readFileSync(path, "utf8");
      for (const [from, times, into] of XTERM) {
        const found = text.match(from)?.length ?? 0;
        if (found !== times) throw new Error(`${from} stands ${found} times in xterm.js, not ${times}`);
        text = text.replace(from, into);
      }
      return { contents: `import { sheetElement } from ${JSON.stringify(join(here, "src/sheet.ts"))};${text}`, loader: "js" };
    });
  },
};

const result = await build({
  absWorkingDir: here,
  entryPoints: { page: "src/main.tsx", style: "src/style.css" },
  outdir: to,
  bundle: true,
  minify: true,
  format: "esm",
  splitting: true, // what is imported only when it is needed is a file of its own
  chunkNames: "[name]",
  plugins: [strictly],
  target: ["chrome110", "firefox115", "safari16"],
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  charset: "utf8",
  metafile: true,
  logLevel: "warning",
});
for (const name of ["index.html", "icon.svg"]) copyFileSync(join(here, "src", name), join(to, name));

// The licences of the packages whose code is in the bundle, as they ship them.
const inside = new Set(
  Object.keys(result.metafile.inputs).flatMap((path) => path.match(/node_modules\/((?:@[^/]+\/)?[^/]+)\//)?.[1] ?? []),
);
const licences = [...inside].sort().map((name) => {
  const folder = join(here, "node_modules", name);
  const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const file = readdirSync(folder).find((f) => /^licen[cs]e/i.test(f));
  if (!file) throw new Error(`${name} ships no licence text`);
  return `${name} ${version} (${license})\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
});
writeFileSync(join(to, "LICENCES.txt"), licences.join("\n\n"));

// What it was built from, and what came of it: tests/test_web_bundle.py compares both without node.
const sha = (path) => createHash("sha256").update(readFileSync(path)).digest("hex");
const sources = ["package.json", "package-lock.json", "tsconfig.json", "build.mjs"]
  .concat(readdirSync(join(here, "src"), { recursive: true }).filter((f) => /\.\w+$/.test(f)).sort().map((f) => `src/${f}`))
  .map((f) => `${sha(join(here, f))}  page/${f}`);
const built = readdirSync(to).sort().map((f) => `${sha(join(to, f))}  ${f}`);
writeFileSync(join(to, "SHA256"), [...sources, ...built].join("\n") + "\n");
