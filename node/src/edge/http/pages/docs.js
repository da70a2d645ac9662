// Renders /v1/openapi.json. All text goes through textContent: nothing of the document is taken as HTML.
"use strict";

function el(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) element.append(child);
  }
  return element;
}

// Descriptions are Markdown of which we use `code` and paragraphs.
function prose(text) {
  return (text || "").split(/\n\s*\n/).filter((p) => p.trim()).map((paragraph) =>
    el("p", {}, paragraph.split("`").map((part, i) => (i % 2 ? el("code", {}, part) : part))));
}

function inline(text) {
  return (text || "").split("`").map((part, i) => (i % 2 ? el("code", {}, part) : part));
}

function resolve(api, node) {
  let value = node;
  for (let i = 0; value && value.$ref && i < 8; i++) {
    value = value.$ref.slice(2).split("/").reduce((at, key) => at && at[key], api);
  }
  return value || {};
}

// A schema with its allOf merged and the null of an optional value left out.
function plain(api, schema) {
  const value = resolve(api, schema);
  if (value.allOf) {
    const all = value.allOf.map((part) => plain(api, part));
    return {
      type: "object",
      description: value.description,
      properties: Object.assign({}, ...all.map((part) => part.properties || {}), value.properties || {}),
      required: all.flatMap((part) => part.required || []).concat(value.required || []),
    };
  }
  const some = (value.oneOf || value.anyOf || []).filter((part) => part.type !== "null");
  if (some.length === 1) return plain(api, some[0]);
  return value;
}

function typeName(api, schema) {
  const value = plain(api, schema);
  if (value.enum) return value.enum.map((item) => JSON.stringify(item)).join(" | ");
  if (value.oneOf || value.anyOf) {
    return (value.oneOf || value.anyOf).filter((part) => part.type !== "null")
      .map((part) => typeName(api, part)).join(" or ");
  }
  const type = [].concat(value.type || "any").filter((name) => name !== "null").join(" | ");
  if (type === "array") return "list of " + typeName(api, value.items || {});
  return value.format && value.format !== "int64" ? `${type} (${value.format})` : type;
}

function fields(api, schema, depth) {
  const value = plain(api, schema);
  if (value.type === "array" && depth < 3) return fields(api, value.items || {}, depth);
  const properties = Object.entries(value.properties || {});
  if (!properties.length) return null;
  const required = new Set(value.required || []);
  return el("table", {}, properties.map(([name, property]) => {
    const inner = depth < 3 ? fields(api, property, depth + 1) : null;
    const description = property.description || plain(api, property).description;
    return el("tr", {},
      el("td", {}, el("code", {}, name + (required.has(name) ? "*" : ""))),
      el("td", { class: "quiet" }, typeName(api, property)),
      el("td", {}, inline(description), inner));
  }));
}

function example(api, schema, depth) {
  const value = plain(api, schema);
  if (schema.example !== undefined) return schema.example;
  if (value.example !== undefined) return value.example;
  if (value.examples && value.examples.length) return value.examples[0];
  if (value.enum) return value.enum[0];
  const options = value.oneOf || value.anyOf;
  if (options && depth < 6) return example(api, options.find((part) => part.type !== "null") || {}, depth + 1);
  const type = [].concat(value.type || (value.properties ? "object" : "string"))[0];
  if (type === "array") return depth < 6 ? [example(api, value.items || {}, depth + 1)] : [];
  if (type === "object") {
    const entries = Object.entries(value.properties || {});
    return Object.fromEntries(depth < 6
      ? entries.map(([name, property]) => [name, example(api, property, depth + 1)]) : []);
  }
  return { integer: 1, number: 1, boolean: true }[type] ?? "…";
}

function body(api, content) {
  return Object.entries(content || {}).flatMap(([mediaType, media]) => {
    if (mediaType === "application/problem+json") return [];
    const schema = media.schema || {};
    const sample = media.example !== undefined ? media.example : example(api, schema, 0);
    const isText = !mediaType.includes("json");
    return [fields(api, schema, 0), isText ? null : el("pre", {}, JSON.stringify(sample, null, 2))];
  });
}

function operation(api, path, method, op) {
  const needsToken = (op.security || []).some((scheme) => Object.keys(scheme).length);
  const parameters = op.parameters || [];
  return el("details", { id: op.operationId },
    el("summary", {}, el("span", { class: "method" }, method.toUpperCase()), el("code", {}, path), " ",
      el("span", { class: "quiet" }, inline(op.summary))),
    prose(op.description),
    needsToken ? el("p", { class: "quiet" }, "Needs ", el("code", {}, "Authorization: Bearer <access token>")) : null,
    parameters.length ? el("h3", {}, "Parameters") : null,
    parameters.length ? el("table", {}, parameters.map((p) => el("tr", {},
      el("td", {}, el("code", {}, p.name + (p.required ? "*" : ""))),
      el("td", { class: "quiet" }, p.in + ", " + typeName(api, p.schema || {})),
      el("td", {}, inline(p.description))))) : null,
    op.requestBody ? el("h3", {}, "Body") : null,
    op.requestBody ? body(api, resolve(api, op.requestBody).content) : null,
    el("h3", {}, "Answers"),
    Object.entries(op.responses).map(([status, response]) => {
      const value = resolve(api, response);
      return el("div", {}, el("p", {}, el("b", {}, status), " ", inline(value.description)), body(api, value.content));
    }));
}

async function main() {
  const target = document.getElementById("document");
  const api = await (await fetch("/v1/openapi.json")).json();
  const operations = Object.entries(api.paths).flatMap(([path, item]) =>
    Object.entries(item).filter(([, op]) => op.operationId).map(([method, op]) => ({ path, method, op })));
  target.replaceChildren(
    ...prose(api.info.description),
    ...(api.tags || []).flatMap((tag) => {
      const own = operations.filter(({ op }) => (op.tags || []).includes(tag.name));
      return own.length ? [el("h2", {}, tag.name), ...prose(tag.description),
        ...own.map(({ path, method, op }) => operation(api, path, method, op))] : [];
    }),
    el("h2", {}, "Problems"),
    fields(api, { $ref: "#/components/schemas/Problem" }, 0));
  const open = () => {
    const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (named && named.tagName === "DETAILS") { named.open = true; named.scrollIntoView(); }
  };
  addEventListener("hashchange", open);
  open();
}

main().catch((error) => { document.getElementById("document").textContent = "The document cannot be shown: " + error; });
