{{- /* Names, labels and rights that several templates share. */ -}}

{{- define "rookery-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* Objects of the whole cluster: with the namespace, so that two releases of one name do not fight for them. */ -}}
{{- define "rookery-operator.clusterName" -}}
{{ .Release.Namespace }}-{{ include "rookery-operator.fullname" . }}
{{- end }}

{{- define "rookery-operator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "rookery-operator.labels" -}}
{{ include "rookery-operator.selector" . }}
app.kubernetes.io/part-of: rookery
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "rookery-operator.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "rookery-operator.fullname" .) }}
{{- end }}

{{- define "rookery-operator.image" -}}
{{ .Values.image.repository }}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- /* The namespaces that are watched, with spaces between; empty: all. */ -}}
{{- define "rookery-operator.namespaces" -}}
{{- if eq .Values.scope "namespaces" }}{{ .Values.namespaces | default (list .Release.Namespace) | join " " }}{{ end }}
{{- end }}

{{- /* Who gets the rights. */ -}}
{{- define "rookery-operator.subjects" -}}
- kind: ServiceAccount
  name: {{ include "rookery-operator.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}
