{{- /*
What the operator may do where it works. No wildcard, no right to give rights, no right beyond namespaces. The roles of scope `cluster`
and of scope `namespaces` are the same rules.
*/ -}}
{{- define "rookery-operator.rules" -}}
# What it is told to do, and what it says about that. It never makes or deletes one.
- apiGroups: [rookery.chat]
  resources: [chatclusters]
  verbs: [get, list, watch]
- apiGroups: [rookery.chat]
  resources: [chatclusters/status]
  verbs: [get, patch]
# Where the API server asks for it (OwnerReferencesPermissionEnforcement): to make what belongs to a ChatCluster.
- apiGroups: [rookery.chat]
  resources: [chatclusters/finalizers]
  verbs: [update]
# Rooms that are declared: it keeps those that are to be deleted until they are.
- apiGroups: [rookery.chat]
  resources: [chatrooms]
  verbs: [get, list, watch, patch]
- apiGroups: [rookery.chat]
  resources: [chatrooms/status]
  verbs: [get, patch]
# What a cluster is made of.
- apiGroups: [""]
  resources: [configmaps, services, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
# Secrets: passwords that it makes, and those that a ChatCluster names. It deletes none: its own go with their ChatCluster.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [statefulsets, deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [ingresses, networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors, prometheusrules]
  verbs: [get, list, watch, create, patch, delete]
# Pods are made by StatefulSets and Deployments; it notes on them that they drain, and deletes them one by one to roll them.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch, delete]
# It tells what it does; and reads why a StatefulSet cannot make a pod, which is said nowhere else.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [list, create, patch]
{{- end }}
