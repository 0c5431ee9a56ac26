// Asks the server and sends decisions; a refusal becomes an Error with the server's sentence.

const token = document.querySelector('meta[name="kitbox-token"]').content;

async function answer(response) {
  let told = null;
  try {
    told = await response.json();
  } catch {
    throw new Error(`the server answered ${response.status}`);
  }
  if (!response.ok) throw new Error(told.error);
  return told;
}

async function reach(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("the server does not answer; is 'kitbox look' still running?");
  }
  return answer(response);
}

// Values may be lists: each of them is sent.
function query(values) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const one of [value].flat()) if (one !== "") found.append(name, one);
  }
  return found.toString();
}

export function get(path, values = {}) {
  return reach(`${path}?${query(values)}`);
}

export function post(path, value) {
  return reach(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Kitbox-Token": token },
    body: JSON.stringify(value),
  });
}

export function picture(id, size) {
  return `/picture?${query({ id, size })}`;
}
