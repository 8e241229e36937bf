// How far something is, and how far it would be at its deadline: one bar in time.
import type { JSX } from "preact";
import { useNow } from "./live";
import { length } from "./parts";
import { scale, useWidth } from "./plot";
import { t } from "./words";

interface Props {
  began: (now: number) => number; // the left end of the bar
  share: number | null; // that is done
  rest: number | null; // seconds until it is all done, as expected
  band?: readonly [number, number] | null; // the same at best and at worst
  deadline: number | null;
}

/** Nothing, where neither is known. */
export function Progress({ began, share, rest, band = null, deadline }: Props): JSX.Element | null {
  const [box, width] = useWidth();
  const now = useNow(5);
  if (share === null && rest === null && !deadline) return null;
  const late = (seconds: number | null | undefined): number => (deadline && seconds !== null && seconds !== undefined ? now + seconds - deadline : 0);
  const words = [
    share !== null && t("{0} % done", Math.floor(share * 100)),
    rest !== null && t("about {0} left", length(rest)) + (band ? ` (${t("{0} to {1}", length(band[0]), length(band[1]))})` : ""),
    deadline && (deadline > now ? t("deadline in {0}", length(deadline - now)) : t("deadline {0} ago", length(now - deadline))),
  ].filter(Boolean).join(" · ");
  const x = scale(began(now), Math.max(deadline ?? 0, now + (rest ?? 0), now + (band?.[1] ?? 0), now + 1), 0, width - 2);
  return (
    <div class="progress">
      <p>{words}</p>
      <figure class="plot" ref={box}>
        {width > 0 && (
          <svg width={width} height="24" role="img" aria-label={words}>
            <rect x="1" y="5" width={x(now)} height="14" rx="3" class="bar a" />
            {rest !== null && <rect x={1 + x(now)} y="5" width={x(now + rest) - x(now)} height="14" class="rest" />}
            {band && <path d={`M${1 + x(now + band[0])} 8v8m0-4H${1 + x(now + band[1])}m0-4v8`} class="whisker" />}
            {deadline && <line x1={1 + x(deadline)} x2={1 + x(deadline)} y2="24" class="limit" />}
          </svg>
        )}
      </figure>
      {late(rest) > 60 ? <div class="notice warm">{t("It would be done {0} after the deadline.", length(late(rest)))}</div>
        : late(band?.[1]) > 60 && <p class="muted">{t("If much goes wrong, it would be done {0} after the deadline.", length(late(band?.[1])))}</p>}
    </div>
  );
}
