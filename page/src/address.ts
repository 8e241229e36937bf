// What a view keeps in the address behind the #, so that it can be kept, sent and gone back to.
import { useEffect, useState } from "preact/hooks";

const read = () => location.hash.slice(2);

/** A view's name, and what it keeps there. */
export function useAddress(): [string, URLSearchParams] {
  const [at, set] = useState(read());
  useEffect(() => {
    const listener = () => set(read());
    addEventListener("hashchange", listener);
    return () => removeEventListener("hashchange", listener);
  }, []);
  const [view, query] = at.split("?");
  return [view || "desks", new URLSearchParams(query ?? "")];
}

/** Keep these in the address; "" is left out. */
export function keep(view: string, values: Record<string, string>): void {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== ""));
  const next = `#/${view}${query.size ? `?${query.toString()}` : ""}`;
  if (next === location.hash) return;
  history.replaceState(null, "", next);
  dispatchEvent(new Event("hashchange"));
}
