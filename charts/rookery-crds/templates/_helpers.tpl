{{- /* What is put in for the line `metadata:` of a definition. */ -}}
{{- define "rookery-crds.metadata" -}}
{{- $labels := dict
  "app.kubernetes.io/name" "rookery"
  "app.kubernetes.io/component" "crds"
  "app.kubernetes.io/part-of" "rookery"
  "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") -}}
{{- $annotations := dict -}}
{{- if .Values.keep }}{{ $annotations = dict "helm.sh/resource-policy" "keep" }}{{ end -}}
metadata:
  labels:
    {{- mergeOverwrite (deepCopy .Values.labels) $labels | toYaml | nindent 4 }}
  {{- with mergeOverwrite (deepCopy .Values.annotations) $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
