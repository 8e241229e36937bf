// What the server is asked. Every answer is a value of `Hotdesk`, as `--json` prints it, or an error in three lines.

/** Money as a cloud tells it, where that is not in US dollars; without the day of a rate, it is not compared with them. */
export interface Amount { value: number; currency: string; day?: string; text: string }
/** A sum in US dollars, and what cannot be added to it, in words. */
export interface Sum { usd: number; besides: string[] }
export interface Desk {
  name: string; goal: string; phase: string; provider: string; region: string; zone: string; instance_type: string;
  market: string; gpu: string; usd_per_hour: number; charged_while_off: boolean; price_time: number | null;
  usd_per_month: number; told_per_month: Amount | null; cost_usd: number; notebook: string; ssh: string; image: string; image_time: number | null;
  why: string; holder: string; idle: string; idle_seconds: number | null; idle_at: number | null; since: number; open_to: string[]; elsewhere: boolean; kept: string[]; released_at: number; ends_at: number;
  told_per_hour: Amount | null; cost_told: Amount | null; left: boolean; known_at: number | null; forwards: Port[];
  limits: { idle_minutes: number; lease_hours: number; stop_at: number } | null;
}
/** A port of a desk at this computer's loopback. */
export interface Port { here: number; there: number; url: string; open: boolean; why: string; direct: boolean }
export interface Row {
  id: number; at: number; desk: string; step: string; key: string; why: string; status: string; thing: string;
  message: string; ended_at: number | null;
}
export interface Problem { what: string; why: string; fix: string; exit_code: number }
export interface Act {
  verb: Deed; name: string; line: string[]; began: number; ended: number | null;
  wait: { why: string; progress: number | null } | null; notes: string[]; error: Problem | null;
  result: { kept?: string[]; image?: string } | null;
}
export interface Look {
  at?: number; error?: Problem | null; others?: Record<string, string[]>; watcher?: string; frozen?: string; per_hour?: Sum; per_month?: Sum;
}
export type Verb = "up" | "resume" | "start" | "park" | "stop" | "move" | "down" | "stay" | "disk";
export type Deed = Verb | "push" | "pull" | "run" | "sweep";
export interface Asked {
  verb: Verb; name: string; provider?: string; instance_type?: string; gpu?: string; market?: string; regions?: string[];
  zone?: string; disk_gib?: number | null; image?: string; initialization_rate?: number | null; origin?: string; rescue?: boolean; public_to?: string;
  wait?: string; notify?: boolean; there?: boolean; no_wait?: boolean; route?: string; keep_old?: string; keep_logs?: boolean; off?: boolean; usd_per_hour_max?: number; idle?: string; lease?: string; until?: string;
  seconds?: string; fresh?: boolean; over_budget?: boolean; anyway?: boolean; typed?: string;
}
export interface Offer {
  provider: string; region: string; zone: string; instance_type: string; market?: string; usd_per_hour?: number; told_per_hour?: Amount;
  gpu?: string; gpu_count?: number; vcpus?: number; memory_gib?: number; why?: string;
}
export interface Step {
  step: string; why: string; id?: string; what?: string; fix?: string; region?: string; keep_disk?: boolean;
  usd_per_hour?: number; told_per_hour?: Amount | null; order?: { offer?: Offer; image_id?: string }; offer?: Offer;
}
/** A disk that would grow, or has grown; `before_gib` 0: the next machine has it. */
export interface Grown { gib: number; before_gib: number; usd_per_month: number; told_per_month: Amount | null; runs: boolean; free_gib: number }
/** What a move to another place carries, as `hotdesk move --dry-run --json` has it. */
export interface Carriage {
  files: number | null; bytes: number | null; uncounted: string; data_files: number | null; unreadable: string[]; seconds: number | null;
  usd_once: number | null; usd_per_hour: number; told_per_hour: Amount | null; replaced: { what: string; by: string }[];
  route: { by: "direct" | "here"; why: string } | null; lines: { place: string; bytes_per_second: number | null }[];
  largest: { name: string; bytes: number; unchanged_seconds: number; may_be_data: boolean }[];
}
export interface Plan {
  carries?: Carriage | null; grown?: Grown; notes: string[];
  line: string[]; steps: Step[]; offers: Offer[]; works: string[]; unsaved: string[]; open: string[]; lost: string[];
}

export class Failure extends Error {
  constructor(readonly problem: Problem) {
    super(problem.what);
  }
}

/** One method of `Hotdesk` that only reads. Throws a `Failure`. */
export function ask<T>(question: string, said: Record<string, string> = {}): Promise<T> {
  const query = new URLSearchParams(said).toString();
  return answer<T>(fetch(`/api/${question}${query && `?${query}`}`));
}

/** Something that may change what is. Throws a `Failure`. */
export const post = <T>(path: string, body: object): Promise<T> => answer<T>(sent(path, body));

/** What a verb would do; its notes say why a place was chosen. Throws a `Failure`. */
export async function planned(asked: Asked): Promise<Plan> {
  const { answer: plan, notes = [] } = await told<Plan>(sent("plan", asked));
  return { ...(plan as Plan), notes };
}

function sent(path: string, body: object): Promise<Response> {
  const headers = { "Content-Type": "application/json", "X-Hotdesk": "1" };
  return fetch(`/api/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
}

async function answer<T>(coming: Promise<Response>): Promise<T> {
  const said = await told<T>(coming);
  return (said.answer ?? said) as T;
}

interface Told<T> { answer?: T; act?: string; error?: Problem; notes?: string[] }

async function told<T>(coming: Promise<Response>): Promise<Told<T>> {
  let reply: Response;
  try {
    reply = await coming;
  } catch {
    throw new Failure({ what: "hotdesk web does not answer.", why: "It may have ended.", fix: "hotdesk web", exit_code: 7 });
  }
  const type = reply.headers.get("content-type") ?? "";
  if (!type.startsWith("application/json")) {
    throw new Failure({ what: (await reply.text()).trim() || reply.statusText, why: "", fix: "hotdesk web", exit_code: 3 });
  }
  const said = (await reply.json()) as Told<T>;
  if (said.error) throw new Failure(said.error);
  return said;
}

/** An error of any kind, in three lines. */
export function problem(error: unknown): Problem {
  return error instanceof Failure ? error.problem : { what: String(error), why: "", fix: "", exit_code: 1 };
}

/** Words as one line for a shell. */
export const shellLine = (words: string[]): string =>
  words.map((w) => (/^[\w@%+=:,./-]+$/.test(w) ? w : `'${w.replaceAll("'", `'"'"'`)}'`)).join(" ");
