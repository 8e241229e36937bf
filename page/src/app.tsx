// The frame: where one can go, the language, the colours, and whether what is shown is still so.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { useAddress } from "./address";
import { Choose } from "./choose";
import { Desks } from "./desks";
import { Doctor } from "./doctor";
import { useKnown, useNow } from "./live";
import { Money } from "./money";
import { Line, clock } from "./parts";
import { Planning } from "./plan";
import { Runs } from "./runs";
import { Sweeps } from "./sweeps";
import { TerminalView } from "./terminal";
import { language, setLanguage, t, type Word } from "./words";

const VIEWS: [string, Word, () => JSX.Element][] = [
  ["desks", "Desks", Desks], ["runs", "Runs", Runs], ["sweeps", "Sweeps", Sweeps], ["money", "Money", Money], ["choose", "Choose", Choose], ["plan", "Plan", Planning], ["doctor", "Doctor", Doctor],
];
const STALE = 120; // seconds without a look at the clouds, before that is said

const themes = ["system", "light", "dark"] as const;

function useTheme(): [string, (theme: string) => void] {
  const [theme, set] = useState(localStorage.getItem("theme") ?? "system");
  useEffect(() => {
    if (theme === "system") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = theme;
    localStorage.setItem("theme", theme);
  }, [theme]);
  return [theme, set];
}

export function App(): JSX.Element {
  const [view] = useAddress();
  const [theme, setTheme] = useTheme();
  const [lang, setLang] = useState(language());
  const [, , View] = view === "terminal" ? ["", "", TerminalView] : (VIEWS.find(([name]) => name === view) ?? (VIEWS[0] as (typeof VIEWS)[0]));
  useEffect(() => {
    document.documentElement.lang = lang === "zh" ? "zh-CN" : "en";
  }, [lang]);
  useEffect(() => document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" }), [view, lang]); // where the views do not all fit
  return (
    <div class="frame" key={lang}>
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById("main")?.focus(); }}>{t("To the content")}</a>
      <header class="bar">
        <a class="brand" href="#/desks"><img src="/icon.svg" alt="" width="26" height="26" />hotdesk</a>
        <nav aria-label={t("Views")}>
          {VIEWS.map(([name, word]) => (
            <a key={name} href={`#/${name}`} aria-current={name === view ? "page" : undefined} onFocus={(event) => event.currentTarget.scrollIntoView({ block: "nearest", inline: "center" })}>{t(word)}</a>
          ))}
        </nav>
        <div class="settings">
          <select aria-label={t("Colours")} value={theme} onChange={(event) => setTheme(event.currentTarget.value)}>
            {themes.map((name) => <option key={name} value={name}>{t(name)}</option>)}
          </select>
          <select aria-label="Language / 语言" value={lang} onChange={(event) => { setLanguage(event.currentTarget.value); setLang(language()); }}>
            <option value="en" lang="en">English</option>
            <option value="zh" lang="zh-CN">中文</option>
          </select>
        </div>
      </header>
      <main id="main" tabIndex={-1}>
        <Connection />
        <View />
      </main>
    </div>
  );
}

function Connection(): JSX.Element | null {
  const { lost, refused, look } = useKnown();
  const now = useNow(5);
  if (refused) {
    return (
      <div class="notice bad" role="alert">
        <strong>{t("hotdesk web was started anew: open the address that it printed.")}</strong>
        <Line words={["hotdesk", "web", "--url"]} />
      </div>
    );
  }
  if (lost) {
    return (
      <div class="notice bad" role="alert">
        <strong>{t("hotdesk web does not answer. What you see is of {0}; what is now is not known.", clock(lost))}</strong>
        <p>{t("Desks and jobs go on without it.")}</p>
        <Line words={["hotdesk", "web"]} />
      </div>
    );
  }
  if (look.at && now - look.at > STALE) {
    return <div class="notice warm" role="status">{t("Nothing is known since {0}: looking again.", clock(look.at))}</div>;
  }
  return null;
}
