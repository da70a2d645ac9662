//! HTTP: routes, extractors, problems as answers, the OpenAPI document.
//!
//! Here belongs the mapping between HTTP and the services. No rule about rooms or accounts.
