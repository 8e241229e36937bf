// The terminal's screen: xterm.js, in the page's colours. A file of its own, loaded when the first terminal is opened.
import { FitAddon } from "@xterm/addon-fit";
import { Terminal, type ITheme } from "@xterm/xterm";
import css from "@xterm/xterm/css/xterm.css";
import { sheetElement } from "./sheet";

export interface Screen {
  write: (data: Uint8Array, drawn: () => void) => void;
  clear: () => void;
  focus: () => void;
  close: () => void;
  size: () => [number, number];
}
interface Heard { typed: (data: string) => void; binary: (data: string) => void; sized: (columns: number, rows: number) => void; left: () => void }

const FONT = 'ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", Menlo, "Noto Sans Mono CJK SC", monospace';
const LIGHT: ITheme = {
  background: "#fffefb", foreground: "#1e2422", cursor: "#1c615b", cursorAccent: "#fffefb", selectionBackground: "#cfe0dc",
  black: "#1e2422", red: "#a8281f", green: "#1b7f5c", yellow: "#8a5a00", blue: "#3b4fb0", magenta: "#8f3f7f", cyan: "#1c6f78", white: "#6f7672",
  brightBlack: "#58625d", brightRed: "#c03a30", brightGreen: "#17855c", brightYellow: "#8f6a00", brightBlue: "#4b5bb5", brightMagenta: "#a04b90", brightCyan: "#1f7a84", brightWhite: "#3a403d",
};
const DARK: ITheme = {
  background: "#1b2021", foreground: "#e9e7e1", cursor: "#6cc3b8", cursorAccent: "#1b2021", selectionBackground: "#35504c",
  black: "#2d3435", red: "#f39285", green: "#52c79b", yellow: "#edb868", blue: "#98a6f2", magenta: "#dc95cd", cyan: "#6cc3d0", white: "#d5d3cd",
  brightBlack: "#8b9490", brightRed: "#ffab9f", brightGreen: "#7fe0bb", brightYellow: "#f6cf8d", brightBlue: "#b6c1ff", brightMagenta: "#f0b4e3", brightCyan: "#94dbe6", brightWhite: "#ffffff",
};
let styled = false;

const dark = (): boolean => {
  const chosen = document.documentElement.dataset["theme"];
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};

/** A screen in a box; it takes the box's size, and keeps to it. */
export function open(box: HTMLElement, heard: Heard): Screen {
  if (!styled) sheetElement(css);
  styled = true;
  const terminal = new Terminal({
    fontFamily: FONT, fontSize: 14, lineHeight: 1.15, scrollback: 5000, cursorBlink: false, minimumContrastRatio: 4.5, theme: dark() ? DARK : LIGHT, macOptionClickForcesSelection: true,
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(box);
  fit.fit();
  terminal.onData(heard.typed);
  terminal.onBinary(heard.binary);
  terminal.onResize(({ cols, rows }) => heard.sized(cols, rows));
  terminal.attachCustomKeyEventHandler((event) => {
    if (event.key === "F6" && event.ctrlKey) {
      event.preventDefault();
      if (event.type === "keyup") heard.left(); // not before: xterm.js has to see that the key is no longer down
      return false;
    }
    if (event.type !== "keydown") return true;
    if (event.key === "C" && event.ctrlKey && event.shiftKey) {
      event.preventDefault();
      if (terminal.hasSelection()) void navigator.clipboard.writeText(terminal.getSelection());
      return false;
    }
    return !(event.key === "V" && event.ctrlKey && event.shiftKey); // the browser pastes
  });
  const resized = new ResizeObserver(() => fit.fit());
  resized.observe(box);
  const recolour = () => { terminal.options.theme = dark() ? DARK : LIGHT; };
  const themed = new MutationObserver(recolour);
  themed.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  const system = matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", recolour);
  return {
    write: (data, drawn) => terminal.write(data, drawn),
    clear: () => terminal.reset(),
    focus: () => terminal.focus(),
    size: () => [terminal.cols, terminal.rows],
    close: () => {
      resized.disconnect();
      themed.disconnect();
      system.removeEventListener("change", recolour);
      terminal.dispose();
    },
  };
}
