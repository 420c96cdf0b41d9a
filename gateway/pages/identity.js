// @ts-check
/**
 * Who is signed in on this page: a token, kept for this tab alone.
 *
 * Rules: a token comes in the address's fragment (which no server sees) or by hand. It leaves the address bar at once, so
 * that no bookmark, screenshot or history holds it, and lives in `sessionStorage`, which ends with the tab.
 * Not here: checking it, which is the server's (`client.js` hears the verdict).
 */

/** @param {"customer" | "agent"} role @returns {string} */
function storageKey(role) {
  return `tellerhall.token.${role}`;
}

/**
 * Take the token from the address, else the one of this tab.
 * @param {"customer" | "agent"} role
 * @returns {string} empty: nobody is signed in
 */
export function takeToken(role) {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    rememberToken(role, given);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return given || sessionStorage.getItem(storageKey(role)) || "";
}

/**
 * @param {"customer" | "agent"} role
 * @param {string} token  empty: forget the one of this tab
 */
export function rememberToken(role, token) {
  if (token) sessionStorage.setItem(storageKey(role), token.trim());
  else sessionStorage.removeItem(storageKey(role));
}
