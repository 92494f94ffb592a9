{{- define "lockstep.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Names of pods, and so of nodes and certificates, begin with it. 40 characters leave room for what is appended. */}}
{{- define "lockstep.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "lockstep.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "lockstep.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "lockstep.selectorLabels" -}}
app.kubernetes.io/name: {{ include "lockstep.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "lockstep.labels" -}}
{{ include "lockstep.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The domain below which each pod has its name. */}}
{{- define "lockstep.peersDomain" -}}
{{- printf "%s-peers.%s.svc.%s" (include "lockstep.fullname" .) .Release.Namespace .Values.clusterDomain -}}
{{- end -}}

{{- define "lockstep.initialCluster" -}}
{{- $urls := list -}}
{{- range $i := until (int .Values.replicas) -}}
{{- $urls = append $urls (printf "https://%s-%d.%s:5000" (include "lockstep.fullname" $) $i (include "lockstep.peersDomain" $)) -}}
{{- end -}}
{{- join "," $urls -}}
{{- end -}}

{{/* The names of the client service, from the shortest to the longest. */}}
{{- define "lockstep.allowedHosts" -}}
{{- $name := include "lockstep.fullname" . -}}
{{- $inNamespace := printf "%s.%s" $name .Release.Namespace -}}
{{- $names := list $name $inNamespace (printf "%s.svc" $inNamespace) (printf "%s.svc.%s" $inNamespace .Values.clusterDomain) -}}
{{- concat $names .Values.allowedHosts | join "," -}}
{{- end -}}
