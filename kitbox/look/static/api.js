// Requests to the server. A refused request throws an Error with the server's sentence.

const token = document.querySelector('meta[name="kitbox-token"]').content;

export function get(path, values = {}) {
  return send(`${path}?${queryString(values)}`);
}

export function post(path, value) {
  return send(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Kitbox-Token": token },
    body: JSON.stringify(value),
  });
}

export function pictureUrl(id, size) {
  return `/picture?${queryString({ id, size })}`;
}

async function send(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("the server does not answer; is 'kitbox look' still running?");
  }
  let body = null;
  try {
    body = await response.json();
  } catch {
    throw new Error(`the server answered with status ${response.status}`);
  }
  if (!response.ok) throw new Error(body.error);
  return body;
}

// Of a value that is a list each element becomes a parameter; '' is omitted.
function queryString(values) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const one of [value].flat()) if (one !== "") parameters.append(name, one);
  }
  return parameters.toString();
}
